//! One hash over all pairs of a generation in order.

/// BLAKE3 over length-prefixed keys and values (lengths as 32-bit little-endian), so that no two
/// different sequences of pairs are the same bytes.
pub struct Checksum {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
}

/// The hasher works on many blocks at once; pairs of 50 bytes each would keep it from that.
const PENDING_BYTES: usize = 64 * 1024;

impl Default for Checksum {
    fn default() -> Self {
        Self { hasher: blake3::Hasher::new(), pending: Vec::with_capacity(PENDING_BYTES + 1024) }
    }
}

impl Checksum {
    /// Adds the next pair.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.pending.extend_from_slice(&(part.len() as u32).to_le_bytes());
            self.pending.extend_from_slice(part);
        }
        if self.pending.len() >= PENDING_BYTES {
            self.flush();
        }
    }

    /// The hash over all pairs added: `blake3:` and 64 hexadecimal digits.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.flush();
        named(&self.hasher)
    }

    fn flush(&mut self) {
        self.hasher.update(&self.pending);
        self.pending.clear();
    }
}

/// A hash with the name of its function before it.
pub(super) fn named(hasher: &blake3::Hasher) -> String {
    format!("blake3:{}", hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> String {
        let mut checksum = Checksum::default();
        pairs.iter().for_each(|(key, value)| checksum.add(key.as_bytes(), value.as_bytes()));
        checksum.finish()
    }

    #[test]
    fn order_and_boundaries_count() {
        assert_ne!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("ab", "1")]), of(&[("a", "b1")]));
        assert_eq!(of(&[("a", "1")]), of(&[("a", "1")]));
    }

    #[test]
    fn buffering_does_not_show() {
        let pairs: Vec<(String, String)> = (0..5000).map(|i| (format!("{i:06}"), "x".repeat(i % 60))).collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut direct = blake3::Hasher::new();
        for (key, value) in &pairs {
            direct.update(&(key.len() as u32).to_le_bytes()).update(key.as_bytes());
            direct.update(&(value.len() as u32).to_le_bytes()).update(value.as_bytes());
        }
        assert_eq!(of(&pairs), named(&direct));
    }
}
