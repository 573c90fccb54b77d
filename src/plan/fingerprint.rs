//! What a run is made from, as one hash: the same inputs have the same fingerprint.

/// Changes whenever the same inputs may give other bytes: a new algorithm detail, another encoding.
pub const BINARY_FORMAT: u32 = 2;

/// A hash over named parts; which part a text stands in matters, and so does its length.
pub struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    /// Begins with the purpose, so that a training and a scoring never share a fingerprint.
    pub fn new(purpose: &str) -> Self {
        Self(blake3::Hasher::new()).part("purpose", purpose).part("format", &BINARY_FORMAT.to_string())
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, name: &str, value: &str) -> Self {
        for text in [name, value] {
            self.0.update(&(text.len() as u64).to_le_bytes());
            self.0.update(text.as_bytes());
        }
        self
    }

    /// The fingerprint in hex (64 digits).
    pub fn finish(self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let one = Fingerprint::new("score").part("a", "bc").finish();
        let two = Fingerprint::new("score").part("ab", "c").finish();
        assert_ne!(one, two);
        assert_ne!(one, Fingerprint::new("train").part("a", "bc").finish());
    }
}
