//! Which part of a table a key belongs to, for stores that keep keys in parts.

/// The partition of a key among `partitions`: CRC-32 (IEEE) of its bytes, modulo their number. All
/// languages have it.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    if partitions <= 1 { 0 } else { crc32fast::hash(key) % partitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_the_documented_hash() {
        // The check value of CRC-32: `cbf43926` for "123456789".
        assert_eq!(partition_of(b"123456789", 1 << 31), 0xcbf4_3926 % (1 << 31));
        assert_eq!(partition_of(b"123456789", 1000), 0xcbf4_3926_u32 % 1000);
        assert_eq!((partition_of(b"any", 1), partition_of(b"any", 0)), (0, 0));
    }
}
