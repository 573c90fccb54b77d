//! What can be said of a server without changing anything in it.

use super::client::Client;
use super::refused::error as refused;
use super::wire::Reply;
use crate::error::Result;

/// What a server stores as one compact block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compact {
    /// A hash of at most so many fields ...
    pub fields: u64,
    /// ... none of whose names and values is longer than so many bytes.
    pub bytes: usize,
}

/// What servers do unless they are told otherwise, for users who may not ask.
const USUAL: Compact = Compact { fields: 128, bytes: 64 };

/// What the servers store compactly; of a cluster, what all its nodes do.
///
/// # Errors
/// What asking fails with, except that the user may not ask.
pub fn compact(client: &mut Client) -> Result<Compact> {
    let mut least: Option<Compact> = None;
    for (_, reply) in client.everywhere(&[b"CONFIG", b"GET", b"hash-max-*"])? {
        let settings = match reply {
            Reply::Texts(settings) => settings,
            // Some services have no CONFIG at all.
            Reply::Error(no) if no.code == "NOPERM" || no.code == "ERR" => continue,
            Reply::Error(no) => return Err(refused(&no, &client.server().words(&no))),
            _ => continue,
        };
        let number = |name: &str| {
            let named = |(found, _): &(&[u8], &[u8])| *found == format!("hash-max-listpack-{name}").as_bytes();
            let old = |(found, _): &(&[u8], &[u8])| *found == format!("hash-max-ziplist-{name}").as_bytes();
            let value = settings.pairs().find(named).or_else(|| settings.pairs().find(old));
            value.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse::<u64>().ok())
        };
        let found = Compact {
            fields: number("entries").unwrap_or(USUAL.fields),
            bytes: number("value").unwrap_or(USUAL.bytes as u64) as usize,
        };
        least = Some(least.map_or(found, |least| Compact {
            fields: least.fields.min(found.fields),
            bytes: least.bytes.min(found.bytes),
        }));
    }
    Ok(least.unwrap_or(USUAL))
}
