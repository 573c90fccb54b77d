//! JSON files that carry their own checksum.
//!
//! The first member is `sha256`, over every byte that follows its closing quote. So each byte of the
//! file either is the checksum or is covered by it, layout included; any JSON reader still reads it.

use super::artifact::FORMAT;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const HEAD: &[u8] = b"{\n  \"sha256\": \"";
const DIGITS: usize = 64;
const AFTER: &[u8] = b"\",";

/// What a sealed file holds.
#[derive(Debug)]
pub(super) struct Opened<T> {
    /// The checksum (hex).
    pub sha256: String,
    /// The version of the binary that wrote it.
    pub lakemill: String,
    /// What was sealed.
    pub body: T,
}

#[derive(Serialize)]
struct Writing<'a, T> {
    format: u32,
    lakemill: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Writer {
    format: u32,
    lakemill: String,
}

#[derive(Deserialize)]
struct Reading<T> {
    #[serde(flatten)]
    body: T,
}

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `body` (a struct) as a sealed file; equal bodies give equal bytes.
pub(super) fn seal<T: Serialize>(body: &T) -> Result<Vec<u8>> {
    let writing = Writing { format: FORMAT, lakemill: env!("CARGO_PKG_VERSION"), body };
    let json = serde_json::to_vec_pretty(&writing)
        .map_err(|source| Error::failed("could not be written as JSON").because(source))?;
    // Behind the brace that opens the object.
    let rest = [json.get(1..).unwrap_or_default(), b"\n"].concat();
    let covered = [AFTER.get(1..).unwrap_or_default(), &rest].concat();
    Ok([HEAD, sha256(&covered).as_bytes(), &AFTER[..1], &covered].concat())
}

/// Verifies a sealed file and reads it.
///
/// # Errors
/// `verification` for a file that was altered or cut, that a newer lakemill wrote, or that holds
/// something else.
pub(super) fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<Opened<T>> {
    let altered = || {
        Error::verification("the file was altered or is cut off: its checksum does not fit")
            .hint("restore it from a backup; what it describes can't be trusted any more")
    };
    let digits = bytes.strip_prefix(HEAD).and_then(|rest| rest.split_at_checked(DIGITS));
    let (digits, rest) = digits.ok_or_else(altered)?;
    let covered = rest.strip_prefix(&AFTER[..1]).ok_or_else(altered)?;
    let sha256 = sha256(covered);
    if sha256.as_bytes() != digits {
        return Err(altered());
    }
    let unreadable =
        |source: serde_json::Error| Error::verification("the file is not what its place says it is").because(source);
    let writer: Writer = serde_json::from_slice(bytes).map_err(unreadable)?;
    if writer.format > FORMAT {
        return Err(Error::verification("the file was written by a newer lakemill")
            .with("format", writer.format)
            .with("written_by", &writer.lakemill)
            .hint(format!("use lakemill {} or newer; this is {}", writer.lakemill, env!("CARGO_PKG_VERSION"))));
    }
    let Reading { body } = serde_json::from_slice(bytes).map_err(unreadable)?;
    Ok(Opened { sha256, lakemill: writer.lakemill, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Body = BTreeMap<String, serde_json::Value>;

    fn body() -> Body {
        BTreeMap::from([("a".to_owned(), serde_json::json!([0.1, -0.0, 1e300, "ä"]))])
    }

    #[test]
    fn a_sealed_file_is_json_with_its_checksum_first() {
        let sealed = seal(&body()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
        let opened = open::<Body>(&sealed).unwrap();
        assert_eq!(json["sha256"], opened.sha256);
        assert_eq!(json["format"], FORMAT);
        assert_eq!(opened.body["a"], body()["a"]);
        assert_eq!(sealed, seal(&body()).unwrap());
    }

    #[test]
    fn every_single_byte_counts() {
        let sealed = seal(&body()).unwrap();
        for at in 0..sealed.len() {
            for mask in [1, 0x20, 0x80] {
                let mut altered = sealed.clone();
                altered[at] ^= mask;
                assert_eq!(open::<Body>(&altered).unwrap_err().kind(), crate::error::ErrorKind::Verification);
            }
            assert!(open::<Body>(&sealed[..at]).is_err());
        }
        assert!(open::<Body>(&[&sealed[..], b"\n"].concat()).is_err());
    }

    #[test]
    fn a_newer_format_names_the_binary_that_wrote_it() {
        let sealed = String::from_utf8(seal(&body()).unwrap()).unwrap();
        let newer = sealed
            .replace(&format!("\"format\": {FORMAT}"), "\"format\": 99")
            .replace(env!("CARGO_PKG_VERSION"), "9.8.7");
        let covered = &newer.as_bytes()[HEAD.len() + DIGITS + 1..];
        let newer = [HEAD, sha256(covered).as_bytes(), b"\"", covered].concat();
        let error = open::<Body>(&newer).unwrap_err();
        assert!(error.message().contains("newer lakemill"), "{error}");
        assert!(error.to_string().contains("9.8.7"));
    }
}
