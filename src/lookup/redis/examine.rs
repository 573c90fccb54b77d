//! What can be said of a server: its settings, its room, and what the user may do there.

use super::client::{Batch, Client, refusal};
use super::layout::Names;
use super::room::info;
use super::server::Server;
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
            Reply::Error(no) => return Err(client.server().refused(&no)),
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

/// How long what is written to try the user's rights stays at most.
const PROBE_MS: &[u8] = b"1000";

/// What a server is, what room it has, and whether the user may publish there.
///
/// # Errors
/// What the server fails with, except that the user may not ask.
pub fn facts(client: &mut Client, names: &Names) -> Result<Vec<(&'static str, String)>> {
    let server = client.server().address.to_string();
    let nodes = info(client)?;
    let compact = compact(client)?;
    let kind = match (&client.server().address.sentinels, client.server().primaries().len()) {
        (Some(sentinels), _) => format!("{}, the primary of `{}`", client.server().node(0), sentinels.master),
        (None, _) if !client.server().is_cluster() => "single server".to_owned(),
        (None, primaries) => format!("cluster of {primaries} primaries"),
    };
    let mut facts = vec![("server", server), ("kind", kind)];
    facts.extend(certificate(client.server()).map(|fact| ("client certificate", fact)));
    match &nodes {
        None => facts.push(("INFO", "not allowed: memory and restarts cannot be watched".to_owned())),
        Some(nodes) => {
            // Of a cluster: the node with the least room says the most.
            let fullest = nodes.values().min_by_key(|info| info.free()).cloned().unwrap_or_default();
            let most = match fullest.number("maxmemory") {
                0 => "no limit".to_owned(),
                most => format!("{} MiB at most", most >> 20),
            };
            let policy = fullest.text("maxmemory_policy");
            let when_full = match fullest.evicts(true) {
                false => format!("refuses writes ({policy})"),
                true => format!("evicts keys ({policy}): set maxmemory-policy to noeviction for lookup tables"),
            };
            facts.push(("version", fullest.text("redis_version").to_owned()));
            facts.push(("role", fullest.text("role").to_owned()));
            facts.push(("memory", format!("{} MiB used, {most}", fullest.number("used_memory") >> 20)));
            facts.push(("when full", when_full));
        }
    }
    facts.push(("compact hashes", format!("up to {} fields of {} bytes", compact.fields, compact.bytes)));
    facts.push(("read", allowed(client, |batch| batch.push(b"HGETALL", names.current().as_bytes(), &[]))?));
    let probe = names.books("doctor");
    facts.push(("write", allowed(client, |batch| batch.push(b"SET", probe.as_bytes(), &[b"1", b"PX", PROBE_MS]))?));
    facts.push(("scripts", allowed(client, |batch| batch.script("return 1", std::slice::from_ref(&probe), &[]))?));
    allowed(client, |batch| batch.push(b"UNLINK", probe.as_bytes(), &[]))?;
    Ok(facts)
}

/// What the server was shown; nothing without TLS.
fn certificate(server: &Server) -> Option<String> {
    let file = server.address.identity.as_ref().map(|identity| identity.certificate.display());
    Some(match (file, server.tls()?.is_asked()) {
        (Some(file), true) => file.to_string(),
        (Some(file), false) => format!("not asked for ({file})"),
        (None, true) => "asked for, and none is named; the server admits that".to_owned(),
        (None, false) => "not asked for".to_owned(),
    })
}

/// `yes`, or why not.
fn allowed(client: &mut Client, ask: impl FnOnce(&mut Batch)) -> Result<String> {
    let mut batch = Batch::default();
    ask(&mut batch);
    let replies = client.attempt(&batch)?;
    // A key of another type was found, and might have been read.
    let no = replies.iter().find_map(refusal).filter(|no| no.code != "WRONGTYPE");
    Ok(no.map_or_else(|| "yes".to_owned(), |no| format!("NO: {}", client.server().words(no))))
}
