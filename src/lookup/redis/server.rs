//! The server behind a URL: which nodes it has, and which of them keeps a key.

use super::address::{Address, Node, Sentinels};
use super::layout::SLOTS;
use super::link::{Broken, Link, Opening};
use super::refused;
use super::sentinel;
use super::tls::Tls;
use super::wire::{Refusal, Reply, command};
use crate::error::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a server is waited for that has never answered: its URL may be wrong.
const FIRST: Duration = Duration::from_secs(3);

/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A server or a cluster, shared by all threads that talk to it.
pub struct Server {
    /// Where it is, and who asks.
    pub address: Address,
    tls: Option<Mutex<Arc<Tls>>>,
    topology: Mutex<Topology>,
    has_answered: AtomicBool,
    /// Connections that nobody uses just now.
    idle: Mutex<Vec<HashMap<Node, Link>>>,
}

/// Who keeps what.
#[derive(Clone, Default)]
struct Topology {
    is_known: bool,
    /// The one that sentinels have named.
    master: Option<Node>,
    /// The primaries of a cluster; empty for a single server.
    primaries: Vec<Node>,
    /// The index of each slot's primary.
    slots: Vec<u16>,
}

/// Idle sets of connections that are kept.
const KEPT_IDLE: usize = 256;

/// Servers of this process by their URLs, so that asking one again takes no new connection.
static OPEN: LazyLock<Mutex<HashMap<Address, Arc<Server>>>> = LazyLock::new(Mutex::default);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// The server that a URL names; nothing is asked of it yet.
    ///
    /// # Errors
    /// Usage: a URL that is none, a file of authorities that can't be read.
    pub fn at(url: &str) -> Result<Arc<Self>> {
        let address = Address::parse(url)?;
        if let Some(known) = locked(&OPEN).get(&address) {
            return Ok(Arc::clone(known));
        }
        let tls = Tls::of(&address)?.map(|tls| Mutex::new(Arc::new(tls)));
        let server = Arc::new(Self {
            tls,
            topology: Mutex::default(),
            has_answered: AtomicBool::new(false),
            idle: Mutex::default(),
            address: address.clone(),
        });
        Ok(Arc::clone(locked(&OPEN).entry(address).or_insert(server)))
    }

    /// The node that keeps a slot.
    pub fn node(&self, slot: u16) -> Node {
        let topology = locked(&self.topology);
        let index = topology.slots.get(usize::from(slot)).copied().unwrap_or(0);
        let single = topology.master.as_ref().unwrap_or(&self.address.node);
        topology.primaries.get(usize::from(index)).unwrap_or(single).clone()
    }

    /// Every node that keeps data.
    pub fn primaries(&self) -> Vec<Node> {
        let is_cluster = self.is_cluster();
        if is_cluster { locked(&self.topology).primaries.clone() } else { vec![self.node(0)] }
    }

    /// Whether it is a cluster; as far as is known.
    pub fn is_cluster(&self) -> bool {
        !locked(&self.topology).primaries.is_empty()
    }

    /// Whether it is known who keeps what.
    pub fn is_explored(&self) -> bool {
        locked(&self.topology).is_known
    }

    /// Who keeps what may have changed: asked again before the next command.
    pub fn forget(&self) {
        locked(&self.topology).is_known = false;
    }

    /// Whom to ask who keeps what: the nodes of a cluster, and the one in the URL.
    pub fn candidates(&self) -> Vec<Node> {
        let mut nodes = locked(&self.topology).primaries.clone();
        if !nodes.contains(&self.address.node) {
            nodes.push(self.address.node.clone());
        }
        nodes
    }

    /// A connection to a node.
    pub fn link(&self, node: &Node) -> Result<Link, Broken> {
        let Address { login, database, timeout, .. } = &self.address;
        let tls = self.renewed_tls();
        let opening = Opening { login, database: *database, tls: tls.as_deref(), timeout: *timeout };
        let link = Link::open(node, opening)?;
        self.has_answered.store(true, Ordering::Relaxed);
        Ok(link)
    }

    /// Asks a sentinel which server is the primary.
    pub fn ask_sentinel(&self, sentinels: &Sentinels, sentinel: &Node) -> Result<Node, Broken> {
        let timeout = self.address.timeout.min(sentinel::TIMEOUT);
        let tls = self.renewed_tls();
        let opening = Opening { login: &sentinels.login, database: 0, tls: tls.as_deref(), timeout };
        let mut link = Link::open(sentinel, opening).map_err(sentinel::not_admitted)?;
        self.has_answered.store(true, Ordering::Relaxed);
        sentinel::master(&mut link, &sentinels.master, sentinel)
    }

    /// Notes which server is the primary.
    pub fn follow(&self, master: Node) {
        *locked(&self.topology) = Topology { is_known: true, master: Some(master), ..Topology::default() };
    }

    /// How the last connection was secured, if it was.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.as_ref().map(|tls| Arc::clone(&locked(tls)))
    }

    /// How a new connection is secured: as the files say now, or as they said before where they are of no use.
    fn renewed_tls(&self) -> Option<Arc<Tls>> {
        let mut tls = locked(self.tls.as_ref()?);
        match tls.renewed(&self.address) {
            Ok(Some(renewed)) => *tls = Arc::new(renewed),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the certificates that were read before are used"),
        }
        Some(Arc::clone(&tls))
    }

    /// How long to go on trying.
    pub fn timeout(&self) -> Duration {
        let answered = self.has_answered.load(Ordering::Relaxed);
        if answered { self.address.timeout } else { self.address.timeout.min(FIRST) }
    }

    /// Connections of an earlier client, or none.
    pub fn take_idle(&self) -> HashMap<Node, Link> {
        locked(&self.idle).pop().unwrap_or_default()
    }

    /// Keeps connections for the next client.
    pub fn keep_idle(&self, links: HashMap<Node, Link>) {
        let mut idle = locked(&self.idle);
        if !links.is_empty() && idle.len() < KEPT_IDLE {
            idle.push(links);
        }
    }

    /// Asks who keeps what, over `link`, a connection to `node`.
    pub fn explore(&self, node: &Node, link: &mut Link) -> std::io::Result<()> {
        let mut asked = Vec::new();
        command(&mut asked, &[b"CLUSTER", b"SLOTS"]);
        link.send(&asked)?;
        let topology = match link.reply()? {
            Reply::Array(ranges) => Topology::of(&ranges, node),
            // A single server, or a user who may not ask: a cluster would send such a user elsewhere, which is told.
            _ => Topology { is_known: true, ..Topology::default() },
        };
        *locked(&self.topology) = topology;
        Ok(())
    }

    /// Notes what `MOVED 3999 127.0.0.1:6381` says; `from` is the node that said so.
    pub fn moved(&self, refusal: &Refusal, from: &Node) {
        let Some((slot, to)) = redirection(refusal, from) else { return };
        let mut topology = locked(&self.topology);
        if topology.slots.len() != SLOTS {
            topology.is_known = false;
            return;
        }
        let known = topology.primaries.iter().position(|node| *node == to);
        let index = known.unwrap_or(topology.primaries.len());
        if known.is_none() {
            topology.primaries.push(to);
        }
        topology.slots[usize::from(slot)] = index as u16;
    }

    /// A server's words without secrets.
    pub fn words(&self, refusal: &Refusal) -> String {
        let secret = self.address.login.password.as_ref();
        secret.map_or_else(|| refusal.line.clone(), |secret| secret.hide_in(&refusal.line))
    }

    /// A refusal as an error.
    pub fn refused(&self, refusal: &Refusal) -> Error {
        refused::error(refusal, &self.words(refusal)).with("server", &self.address)
    }

    /// A connection that could not be had or was lost, as an error.
    pub fn unreachable(&self, node: &Node, source: std::io::Error) -> Error {
        let answered = self.has_answered.load(Ordering::Relaxed);
        let what =
            if answered { "the Redis server does not answer any more" } else { "the Redis server does not answer" };
        Error::new(ErrorKind::Transient, what).with("server", node).because(source)
    }
}

/// The slot and the node in `MOVED 3999 127.0.0.1:6381` and `ASK ...`.
pub fn redirection(refusal: &Refusal, from: &Node) -> Option<(u16, Node)> {
    let mut words = refusal.line.split(' ').skip(1);
    let slot: u16 = words.next()?.parse().ok().filter(|&slot| usize::from(slot) < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    // Without a host it is the one that answered, on another port.
    let host = if host.is_empty() || host == "?" { from.host.clone() } else { host.to_owned() };
    Some((slot, Node { host, port: port.parse().ok()? }))
}

impl Topology {
    /// Of the reply to `CLUSTER SLOTS`: `[first, last, [host, port, id, ..], replicas ..]` each.
    fn of(ranges: &[Reply], asked: &Node) -> Self {
        let mut topology = Self { is_known: true, master: None, primaries: Vec::new(), slots: vec![0; SLOTS] };
        for range in ranges {
            let Reply::Array(range) = range else { continue };
            let [Reply::Int(first), Reply::Int(last), Reply::Array(primary), ..] = &range[..] else { continue };
            let [host, Reply::Int(port), ..] = &primary[..] else { continue };
            let (Ok(first), Ok(last)) = (usize::try_from(*first), usize::try_from(*last)) else { continue };
            let Ok(port) = u16::try_from(*port) else { continue };
            let host = match host {
                Reply::Bulk(host) if !host.is_empty() && host != b"?" => String::from_utf8_lossy(host).into_owned(),
                _ => asked.host.clone(),
            };
            let node = Node { host, port };
            let known = topology.primaries.iter().position(|primary| *primary == node);
            let index = known.unwrap_or(topology.primaries.len());
            if known.is_none() {
                topology.primaries.push(node);
            }
            topology.slots.iter_mut().take(last + 1).skip(first).for_each(|slot| *slot = index as u16);
        }
        topology
    }
}

/// Pauses between tries that grow, until it has been long enough.
pub struct Patience {
    until: Instant,
    whole: Duration,
    pause: Duration,
}

impl Patience {
    /// For as long as `whole`.
    pub fn new(whole: Duration) -> Self {
        Self { until: Instant::now() + whole, whole, pause: Duration::from_millis(5) }
    }

    /// Something has succeeded: the time begins anew.
    pub fn renew(&mut self) {
        *self = Self::new(self.whole);
    }

    /// Pauses.
    ///
    /// # Errors
    /// `why`, where it has been long enough.
    pub fn pause(&mut self, why: Error) -> Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(why);
        }
        tracing::debug!(%why, pause = ?self.pause, "a Redis server is asked again");
        std::thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(PAUSE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.into(), port }
    }

    #[test]
    fn the_slots_of_a_cluster_are_read() {
        let primary = |host: &str, port| Reply::Array(vec![Reply::Bulk(host.into()), Reply::Int(port), Reply::Nil]);
        let range = |first, last, primary| Reply::Array(vec![Reply::Int(first), Reply::Int(last), primary]);
        let ranges = [
            range(0, 5460, primary("10.0.0.1", 7000)),
            range(5461, 16_383, primary("", 7001)),
            range(100, 100, primary("10.0.0.1", 7000)),
            Reply::Nil,
        ];
        let topology = Topology::of(&ranges, &node("seed", 1));
        assert_eq!(topology.primaries, [node("10.0.0.1", 7000), node("seed", 7001)]);
        assert_eq!((topology.slots[0], topology.slots[5461], topology.slots[16_383]), (0, 1, 1));
    }

    #[test]
    fn redirections_name_a_slot_and_a_node() {
        let read = |line: &str| redirection(&Refusal { code: "MOVED".into(), line: line.into() }, &node("from", 1));
        assert_eq!(read("MOVED 3999 127.0.0.1:6381"), Some((3999, node("127.0.0.1", 6381))));
        assert_eq!(read("ASK 1 :6381"), Some((1, node("from", 6381))));
        assert_eq!(read("MOVED 1 ::1:6381"), Some((1, node("::1", 6381))));
        for line in ["MOVED", "MOVED x y:1", "MOVED 99999 h:1", "MOVED 1 h", "MOVED 1 h:x"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
