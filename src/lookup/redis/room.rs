//! Whether the server has room for what is loaded, and is still the server that the load began with.

use super::address::Node;
use super::client::{Client, refusal};
use super::server::Patience;
use super::wire::Reply;
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the server is asked while a load goes on.
const EVERY: Duration = Duration::from_millis(250);

/// The share of its memory that a load leaves to a server that refuses writes when it is full, and to one that evicts:
/// that one begins before it is full.
const LEFT: f64 = 0.03;
const LEFT_BEFORE_EVICTION: f64 = 0.10;

/// What `INFO` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// Reads the lines `name:value`.
    pub fn of(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Self(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// A value; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A number; 0 where there is none.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Whether keys go when memory is short that have no time to live (or, `with_ttl`, those that have).
    pub fn evicts(&self, with_ttl: bool) -> bool {
        let policy = self.text("maxmemory_policy");
        policy.starts_with("allkeys") || (with_ttl && policy.starts_with("volatile"))
    }

    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        let (used, most) = (self.number("used_memory"), self.number("maxmemory"));
        if most == 0 { u64::MAX } else { most.saturating_sub(used) }
    }

    /// How many bytes there is room for; 0 where nothing more should be sent now.
    fn room(&self, with_ttl: bool) -> u64 {
        let (used, most) = (self.number("used_memory"), self.number("maxmemory"));
        let left = if self.evicts(with_ttl) { LEFT_BEFORE_EVICTION } else { LEFT };
        if most == 0 { u64::MAX } else { ((most as f64 * (1.0 - left)) as u64).saturating_sub(used) }
    }

    fn is_short(&self, with_ttl: bool) -> bool {
        self.room(with_ttl) == 0
    }
}

fn least_room<'a>(nodes: impl Iterator<Item = &'a Info>, expires: bool) -> u64 {
    nodes.map(|info| info.room(expires)).min().unwrap_or(u64::MAX)
}

/// What a look at the servers shows.
enum Look {
    /// The fullest has room for so many bytes.
    Room(u64),
    /// One has no room.
    Short(Error),
}

/// What every node says of itself; `None` where the user may not ask.
///
/// # Errors
/// What asking fails with.
pub fn info(client: &mut Client) -> Result<Option<BTreeMap<Node, Info>>> {
    let replies = client.everywhere(&[b"INFO"])?;
    let mut nodes = BTreeMap::new();
    for (node, reply) in replies {
        match reply {
            Reply::Bulk(text) => nodes.insert(node, Info::of(&String::from_utf8_lossy(&text))),
            Reply::Error(refusal) if refusal.code == "NOPERM" => return Ok(None),
            other => {
                return Err(
                    refusal(&other).map_or_else(|| super::client::unexpected(&other), |no| client.server().refused(no))
                );
            }
        };
    }
    Ok(Some(nodes))
}

/// Watches the servers of one load.
pub struct Room {
    /// As it was when the load began; `None` where the user may not ask.
    began: Option<BTreeMap<Node, Info>>,
    expires: bool,
    looked: Mutex<Looked>,
}

/// The last look.
struct Looked {
    at: Instant,
    /// How many bytes the fullest node had room for.
    room: u64,
    /// How many bytes were sent since.
    sent: u64,
    /// Whether somebody has waited in vain.
    is_over: bool,
}

/// Sent bytes may take so many times their number in the server.
const GROWTH: u64 = 4;

impl Room {
    /// Begins to watch; `expires`: what is loaded has a time to live.
    ///
    /// # Errors
    /// What asking the server fails with.
    pub fn watch(client: &mut Client, expires: bool) -> Result<Self> {
        let began = info(client)?;
        match &began {
            None => tracing::warn!(
                "the Redis user may not ask for INFO: a server short of memory, or one that was restarted, is noticed \
                 by its refusals and by reading back alone"
            ),
            Some(nodes) if nodes.values().any(|info| info.number("maxmemory") > 0 && info.evicts(expires)) => {
                tracing::warn!(
                    "the Redis server evicts keys when its memory is full: a lookup table in it may lose keys later; \
                     set maxmemory-policy to noeviction"
                );
            }
            Some(_) => {}
        }
        let room = began.as_ref().map_or(u64::MAX, |nodes| least_room(nodes.values(), expires));
        Ok(Self { began, expires, looked: Mutex::new(Looked { at: Instant::now(), room, sent: 0, is_over: false }) })
    }

    /// Waits as long as the server is short of memory, before `bytes` are sent. Looks now and then, and the more often
    /// the less room there is. Whoever waits holds up all others, and where it has waited in vain they need not try:
    /// false.
    ///
    /// # Errors
    /// Budget: it stays so, or keys were evicted. Transient: a server was restarted.
    pub fn wait(&self, client: &mut Client, bytes: u64) -> Result<bool> {
        if self.began.is_none() {
            return Ok(true);
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_over {
            return Ok(false);
        }
        looked.sent += bytes;
        if looked.at.elapsed() < EVERY && looked.sent.saturating_mul(GROWTH) < looked.room {
            return Ok(true);
        }
        let waited = self.room(client);
        match waited {
            Ok(room) => *looked = Looked { at: Instant::now(), room, sent: bytes, is_over: false },
            Err(_) => looked.is_over = true,
        }
        waited.map(|_| true)
    }

    /// Waits until there is room; gives how much.
    fn room(&self, client: &mut Client) -> Result<u64> {
        let mut patience = Patience::new(client.server().address.timeout);
        loop {
            match self.check(client)? {
                Look::Room(room) => return Ok(room),
                Look::Short(short) => patience.pause(short)?,
            }
        }
    }

    /// Whether all is as it should be for readers to be sent here: nothing evicted, nothing restarted.
    ///
    /// # Errors
    /// Budget: keys were evicted, or are about to be. Transient: a server was restarted.
    pub fn approve(&self, client: &mut Client) -> Result<()> {
        // A primary that was cut off from its sentinels may not know that it is none any more: they are asked.
        if client.server().address.sentinels.is_some() {
            client.server().forget();
        }
        match self.check(client)? {
            Look::Short(short) => Err(short),
            Look::Room(_) => Ok(()),
        }
    }

    fn check(&self, client: &mut Client) -> Result<Look> {
        let Some(began) = &self.began else { return Ok(Look::Room(u64::MAX)) };
        let Some(now) = info(client)? else { return Ok(Look::Room(u64::MAX)) };
        for (node, info) in &now {
            let Some(before) = began.get(node) else {
                let what = match client.server().address.sentinels {
                    None => "the nodes of the Redis cluster changed during the load",
                    Some(_) => "another Redis server became the primary during the load",
                };
                return Err(Error::new(ErrorKind::Transient, what)
                    .with("server", node)
                    .hint("after a failover what was loaded may be gone; run again"));
            };
            let evicted = info.number("evicted_keys").saturating_sub(before.number("evicted_keys"));
            if info.text("run_id") != before.text("run_id") {
                return Err(Error::new(ErrorKind::Transient, "the Redis server was restarted during the load")
                    .with("server", node)
                    .hint("what was loaded may be gone; run again"));
            }
            if evicted > 0 && info.evicts(self.expires) {
                return Err(self
                    .short("the Redis server has evicted keys during the load", node, info)
                    .with("evicted", evicted));
            }
            if info.is_short(self.expires) {
                return Ok(Look::Short(self.short(
                    if info.evicts(self.expires) {
                        "the Redis server would evict keys to make room for this lookup table"
                    } else {
                        "the Redis server has no memory left for this lookup table"
                    },
                    node,
                    info,
                )));
            }
        }
        Ok(Look::Room(least_room(now.values(), self.expires)))
    }

    fn short(&self, what: &str, node: &Node, info: &Info) -> Error {
        Error::new(ErrorKind::Budget, what)
            .with("server", node)
            .with("used_memory", info.number("used_memory"))
            .with("maxmemory", info.number("maxmemory"))
            .with("policy", info.text("maxmemory_policy"))
            .hint("nothing was published; raise maxmemory, keep fewer generations (keep_generations), or use a server with maxmemory-policy noeviction")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(used: u64, most: u64, policy: &str) -> Info {
        Info::of(&format!("# Memory\r\nused_memory:{used}\r\nmaxmemory:{most}\r\nmaxmemory_policy:{policy}\r\n"))
    }

    #[test]
    fn a_server_is_short_before_it_refuses_or_evicts() {
        assert!(!info(1 << 40, 0, "noeviction").is_short(false), "no limit");
        assert!(!info(960, 1000, "noeviction").is_short(false));
        assert!(info(980, 1000, "noeviction").is_short(false));
        assert!(info(920, 1000, "allkeys-lru").is_short(false));
        assert!(info(920, 1000, "volatile-ttl").is_short(true));
        assert!(!info(920, 1000, "volatile-ttl").is_short(false), "its keys have no time to live");
    }
}
