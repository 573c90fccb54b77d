//! Names of keys, and which key lies where.

use super::wire::decimal;
use crate::error::{Error, Result};
use crate::lookup::Layout;
use serde::{Deserialize, Serialize};

/// Slots of a cluster.
pub const SLOTS: usize = 16_384;

/// Fields that a bucket has on average where the server's settings allow it.
const FIELDS: u64 = 64;

/// What the metadata of a generation says besides what every store says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Hashes of many pairs, or one string a pair.
    pub layout: Layout,
    /// When the server removes the data by itself: milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// The keys of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
    table: String,
}

impl Names {
    /// Those of `table` under `prefix`.
    ///
    /// # Errors
    /// Usage: a prefix that could not be told from the rest of a key.
    pub fn new(prefix: &str, table: &str) -> Result<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if prefix.is_empty() || prefix.len() > 100 || !prefix.bytes().all(is_plain) || prefix.ends_with(':') {
            return Err(Error::usage("the prefix of keys in Redis must be letters, digits, `_`, `-`, `.` and `:`")
                .with("prefix", prefix.escape_debug()));
        }
        Ok(Self { prefix: prefix.to_owned(), table: table.to_owned() })
    }

    /// The pointer: a string, the number of the current generation.
    pub fn current(&self) -> String {
        format!("{}:{}:current", self.prefix, self.table)
    }

    /// What a generation says about itself: a string, JSON.
    pub fn metadata(&self, generation: u64) -> String {
        format!("{}:{}:generation:{generation}", self.prefix, self.table)
    }

    /// A key of the loaders' own books. Its hash tag is the pointer's whole name, so that scripts change both at once
    /// in a cluster too.
    pub fn books(&self, what: &str) -> String {
        format!("{}:{{{}}}:{what}", self.prefix, self.current())
    }

    /// Writes the name of a bucket: a hash of its pairs, or in the layout of strings the list of its keys.
    pub fn bucket(&self, out: &mut Vec<u8>, bucket: u32, generation: u64) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b":{");
        out.extend_from_slice(self.table.as_bytes());
        out.push(b':');
        decimal(out, bucket.into());
        out.extend_from_slice(b"}:");
        decimal(out, generation);
    }

    /// Writes the name of one pair's string.
    pub fn string(&self, out: &mut Vec<u8>, generation: u64, key: &[u8]) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.push(b':');
        out.extend_from_slice(self.table.as_bytes());
        out.push(b':');
        decimal(out, generation);
        out.push(b':');
        out.extend_from_slice(key);
    }
}

/// How many buckets `keys` need where a hash is stored compactly up to `limit` fields.
pub fn partitions_of(keys: u64, limit: u64) -> u32 {
    u32::try_from(keys.div_ceil(fields(limit)).max(1)).unwrap_or(u32::MAX)
}

/// How many buckets `keys` need next to a generation of `base` buckets: as many, or a multiple, so that the old pairs of
/// a bucket lie in one old bucket; where the old ones are nearly empty, a half, a quarter and so on.
pub fn partitions_beside(base: u32, keys: u64, limit: u64) -> u32 {
    let (wanted, base) = (partitions_of(keys, limit), base.max(1));
    if keys > u64::from(base) * fields(limit) * 5 / 4 {
        return base.saturating_mul(wanted.div_ceil(base));
    }
    let mut fewer = base;
    while wanted < base / 8 && fewer % 2 == 0 && fewer / 2 >= wanted {
        fewer /= 2;
    }
    fewer
}

/// Whether the pairs of a bucket of one generation can be found in the buckets of another.
pub fn are_comparable(one: u32, other: u32) -> bool {
    one.is_multiple_of(other) || other.is_multiple_of(one)
}

/// Fields a bucket on average. Their number varies as a Poisson variable does: none of millions of buckets may pass
/// the limit, which five standard deviations see to.
fn fields(limit: u64) -> u64 {
    let fits = |&mean: &u64| mean as f64 + 5.0 * (mean as f64 * 5.0 / 4.0).sqrt() <= limit as f64;
    (1..=FIELDS).rev().find(fits).unwrap_or(1)
}

/// The slot of a key in a cluster: CRC-16 (XMODEM) of its hash tag, or of all of it.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS as u16
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // Redis' own test vector, and CLUSTER KEYSLOT of a server.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16_384);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn the_books_lie_beside_the_pointer_and_a_bucket_beside_itself() {
        let names = Names::new("lakemill", "card_fraud").unwrap();
        assert_eq!(names.current(), "lakemill:card_fraud:current");
        assert_eq!(names.metadata(7), "lakemill:card_fraud:generation:7");
        assert_eq!(names.books("flips"), "lakemill:{lakemill:card_fraud:current}:flips");
        assert_eq!(slot(names.books("flips").as_bytes()), slot(names.current().as_bytes()));
        let bucket = |generation| {
            let mut out = Vec::new();
            names.bucket(&mut out, 12, generation);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(bucket(3), "lakemill:{card_fraud:12}:3");
        assert_eq!(slot(bucket(3).as_bytes()), slot(bucket(4).as_bytes()));
        let mut string = Vec::new();
        names.string(&mut string, 3, b"42");
        assert_eq!(string, b"lakemill:card_fraud:3:42");
    }

    #[test]
    fn a_prefix_is_plain() {
        assert!(Names::new("acme:prod-1", "t").is_ok());
        for prefix in ["", "a{b", "a b", "é", "a:", "a*"] {
            assert!(Names::new(prefix, "t").is_err(), "{prefix}");
        }
    }

    #[test]
    fn buckets_stay_within_what_a_server_stores_compactly() {
        assert_eq!((fields(128), fields(512), fields(0)), (64, 64, 1));
        assert!((20..40).contains(&fields(64)), "{}", fields(64));
        assert_eq!((partitions_of(0, 128), partitions_of(64, 128), partitions_of(65, 128)), (1, 1, 2));
    }

    #[test]
    fn a_growing_table_splits_its_buckets_evenly() {
        assert_eq!(partitions_beside(10, 640, 128), 10);
        assert_eq!(partitions_beside(10, 800, 128), 10);
        assert_eq!(partitions_beside(10, 801, 128), 20);
        assert_eq!(partitions_beside(10, 6400, 128), 100);
        assert_eq!(partitions_beside(10, 100, 128), 10);
        assert_eq!(partitions_beside(1000, 64, 128), 125);
        assert_eq!(partitions_beside(1024, 64, 128), 1);
        assert!(are_comparable(1000, 125) && are_comparable(10, 100) && !are_comparable(10, 15));
    }
}
