//! Many commands at once, sent to the nodes that they belong to, each until it has a reply.

use super::address::{Node, Sentinels};
use super::layout::slot;
use super::link::{Broken, Link};
use super::refused::{Verdict, verdict};
use super::sentinel;
use super::server::{Patience, Server, redirection};
use super::wire::{Refusal, Reply, Texts, argument, begin, command};
use crate::error::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Commands, one after the other, each with the slot of its key. All of them may be sent twice: a connection may be
/// lost after the server has done what it was told.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    commands: Vec<(u16, usize)>,
}

impl Batch {
    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Adds a command about `key`.
    pub fn push(&mut self, name: &[u8], key: &[u8], rest: &[&[u8]]) {
        let mut adding = self.adding(name, key, rest.len());
        rest.iter().for_each(|part| adding.argument(part));
    }

    /// Adds a command of two words about `key`, such as `MEMORY USAGE`.
    pub fn push_pair(&mut self, (name, sub): (&[u8], &[u8]), key: &[u8], rest: &[&[u8]]) {
        begin(&mut self.bytes, rest.len() + 3);
        [name, sub, key].iter().chain(rest).for_each(|part| argument(&mut self.bytes, part));
        self.commands.push((slot(key), self.bytes.len()));
    }

    /// Begins a command about `key` with `rest` more arguments, which are to be added.
    pub fn adding(&mut self, name: &[u8], key: &[u8], rest: usize) -> Adding<'_> {
        begin(&mut self.bytes, rest + 2);
        argument(&mut self.bytes, name);
        argument(&mut self.bytes, key);
        Adding { slot: slot(key), batch: self }
    }

    /// Adds `EVAL script` over keys of one slot.
    pub fn script(&mut self, script: &str, keys: &[String], arguments: &[&[u8]]) {
        let count = keys.len().to_string();
        let mut parts: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), count.as_bytes()];
        parts.extend(keys.iter().map(String::as_bytes));
        parts.extend(arguments);
        command(&mut self.bytes, &parts);
        let slot = keys.first().map_or(0, |key| slot(key.as_bytes()));
        self.commands.push((slot, self.bytes.len()));
    }

    fn command(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.commands[before].1);
        &self.bytes[start..self.commands[index].1]
    }
}

/// A command whose arguments are being added.
pub struct Adding<'a> {
    batch: &'a mut Batch,
    slot: u16,
}

impl Adding<'_> {
    /// Adds one argument.
    pub fn argument(&mut self, part: &[u8]) {
        argument(&mut self.batch.bytes, part);
    }
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        self.batch.commands.push((self.slot, self.batch.bytes.len()));
    }
}

/// How long a hasty client goes on trying.
const HASTE: Duration = Duration::from_secs(1);

/// One thread's connections.
pub struct Client {
    server: Arc<Server>,
    links: HashMap<Node, Link>,
    /// How long it goes on trying, where that is less than usual.
    most: Option<Duration>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.server.keep_idle(std::mem::take(&mut self.links));
    }
}

impl Client {
    /// Connections to `server`: those of an earlier client, or made as they are needed.
    pub fn of(server: &Arc<Server>) -> Self {
        Self { links: server.take_idle(), server: Arc::clone(server), most: None }
    }

    /// One that soon gives up: for what may be left undone.
    pub fn hasty(server: &Arc<Server>) -> Self {
        let mut client = Self::of(server);
        client.most = Some(HASTE);
        client
    }

    fn patience(&self) -> Patience {
        let usual = self.server.timeout();
        Patience::new(self.most.map_or(usual, |most| most.min(usual)))
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Sends commands and gives their replies in order; what cannot be answered now is asked again.
    ///
    /// # Errors
    /// A refusal that another try does not change; `transient` where the server did not answer, or could not do it,
    /// for as long as it is waited for.
    pub fn run(&mut self, batch: &Batch) -> Result<Vec<Reply>> {
        let replies = self.attempt(batch)?;
        match replies.iter().find_map(refusal) {
            Some(refusal) => Err(self.server.refused(refusal)),
            None => Ok(replies),
        }
    }

    /// As [`Client::run`], but gives refusals among the replies.
    ///
    /// # Errors
    /// As [`Client::run`], except for refusals.
    pub fn attempt(&mut self, batch: &Batch) -> Result<Vec<Reply>> {
        let mut replies = vec![Reply::Nil; batch.len()];
        let mut open: Vec<usize> = (0..batch.len()).collect();
        let mut patience: Option<Patience> = None;
        while !open.is_empty() {
            let before = open.len();
            let passed = self.pass(batch, &mut open, &mut replies);
            if passed.is_err() {
                // Replies may still be on their way: nothing else may be read from these connections.
                self.links.clear();
            }
            let Some(why) = passed? else { continue };
            let patience = patience.get_or_insert_with(|| self.patience());
            if open.len() < before {
                patience.renew();
            }
            patience.pause(why)?;
        }
        Ok(replies)
    }

    /// Sends one command about `key`.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub fn call(&mut self, name: &str, key: &str, rest: &[&[u8]]) -> Result<Reply> {
        let mut batch = Batch::default();
        batch.push(name.as_bytes(), key.as_bytes(), rest);
        Ok(self.run(&batch)?.pop().unwrap_or(Reply::Nil))
    }

    /// Sends one command to every node that keeps data; refusals are among the replies.
    ///
    /// # Errors
    /// As [`Client::run`], except for refusals.
    pub fn everywhere(&mut self, parts: &[&[u8]]) -> Result<Vec<(Node, Reply)>> {
        let mut bytes = Vec::new();
        command(&mut bytes, parts);
        let mut patience = self.patience();
        loop {
            let why = match self.explore()? {
                Some(why) => why,
                None => match self.asked_everywhere(&bytes)? {
                    Ok(replies) => return Ok(replies),
                    // Another node may have taken over: who they are is asked again.
                    Err(why) => why,
                },
            };
            patience.pause(why)?;
        }
    }

    /// One try; the inner error may pass.
    fn asked_everywhere(&mut self, bytes: &[u8]) -> Result<Result<Vec<(Node, Reply)>>> {
        let mut replies = Vec::new();
        for node in self.server.primaries() {
            let asked = self
                .connected(&node)
                .and_then(|link| link.send(bytes).and_then(|()| link.reply()).map_err(Broken::Lost));
            match asked {
                Ok(reply) => replies.push((node, reply)),
                Err(broken) => return self.broken(&node, broken).map(Err),
            }
        }
        Ok(Ok(replies))
    }

    /// One try of the open commands; gives why some of them are still open and have to wait.
    fn pass(&mut self, batch: &Batch, open: &mut Vec<usize>, replies: &mut [Reply]) -> Result<Option<Error>> {
        if let Some(why) = self.explore()? {
            return Ok(Some(why));
        }
        let mut why = None;
        let mut left = Vec::new();
        let mut sent = Vec::new();
        for (node, commands) in self.grouped(batch, open) {
            let done = self.connected(&node).and_then(|link| {
                if commands.len() == batch.len() {
                    return link.send(&batch.bytes).map_err(Broken::Lost);
                }
                let bytes: Vec<u8> = commands.iter().flat_map(|&index| batch.command(index)).copied().collect();
                link.send(&bytes).map_err(Broken::Lost)
            });
            match done {
                Ok(()) => sent.push((node, commands)),
                Err(broken) => {
                    why = Some(self.broken(&node, broken)?);
                    left.extend(commands);
                }
            }
        }
        for (node, commands) in sent {
            for (position, &index) in commands.iter().enumerate() {
                let Some(link) = self.links.get_mut(&node) else {
                    left.extend(&commands[position..]);
                    break;
                };
                match link.reply() {
                    Ok(reply) => match self.judged(batch, index, &node, reply)? {
                        Judged::Done(reply) => replies[index] = reply,
                        Judged::Again(reason) => {
                            why = Some(reason);
                            left.push(index);
                        }
                    },
                    Err(source) => {
                        why = Some(self.broken(&node, Broken::Lost(source))?);
                        left.extend(&commands[position..]);
                        break;
                    }
                }
            }
        }
        left.sort_unstable();
        *open = left;
        Ok(why)
    }

    /// What a reply says about its command.
    fn judged(&mut self, batch: &Batch, index: usize, node: &Node, reply: Reply) -> Result<Judged> {
        let Reply::Error(refusal) = &reply else { return Ok(Judged::Done(reply)) };
        match verdict(refusal) {
            Verdict::Final => return Ok(Judged::Done(reply)),
            Verdict::Wait => {}
            Verdict::Moved => self.server.moved(refusal, node),
            Verdict::Elsewhere => self.server.forget(),
            Verdict::Ask => {
                if let Some((_, to)) = redirection(refusal, node)
                    && let Some(reply) = self.ask(&to, batch.command(index))?
                {
                    return Ok(Judged::Done(reply));
                }
            }
        }
        Ok(Judged::Again(self.server.refused(refusal)))
    }

    /// Asks the node to which a key is on its way.
    fn ask(&mut self, node: &Node, asked: &[u8]) -> Result<Option<Reply>> {
        let mut bytes = Vec::new();
        command(&mut bytes, &[b"ASKING"]);
        bytes.extend_from_slice(asked);
        // Over a connection of its own: replies of others may still be on their way over the usual one.
        let mut link = match self.server.link(node) {
            Ok(link) => link,
            Err(Broken::Refused(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let reply = link.send(&bytes).and_then(|()| link.reply()).and_then(|_| link.reply());
        Ok(reply.ok().filter(|reply| refusal(reply).is_none_or(|refusal| verdict(refusal) == Verdict::Final)))
    }

    fn grouped(&self, batch: &Batch, open: &[usize]) -> Vec<(Node, Vec<usize>)> {
        if !self.server.is_cluster() {
            return vec![(self.server.node(0), open.to_vec())];
        }
        let mut groups: HashMap<Node, Vec<usize>> = HashMap::new();
        for &index in open {
            groups.entry(self.server.node(batch.commands[index].0)).or_default().push(index);
        }
        groups.into_iter().collect()
    }

    fn connected(&mut self, node: &Node) -> Result<&mut Link, Broken> {
        if !self.links.contains_key(node) {
            let link = self.server.link(node)?;
            self.links.insert(node.clone(), link);
        }
        self.links.get_mut(node).ok_or_else(|| Broken::Lost(std::io::ErrorKind::NotConnected.into()))
    }

    /// Gives up a connection; an error where no other will do better.
    fn broken(&mut self, node: &Node, broken: Broken) -> Result<Error> {
        self.links.remove(node);
        self.server.forget();
        match broken {
            Broken::Refused(error) => Err(error),
            Broken::Unready(refusal) => Ok(self.server.refused(&refusal)),
            Broken::Waiting(why) => Ok(why),
            Broken::Lost(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                Err(Error::failed("what answers is no Redis server").with("server", node).because(source))
            }
            Broken::Lost(source) => Ok(self.server.unreachable(node, source)),
        }
    }

    /// Finds out who keeps what, unless that is known; gives why it could not be asked now.
    fn explore(&mut self) -> Result<Option<Error>> {
        if self.server.is_explored() {
            return Ok(None);
        }
        if let Some(sentinels) = &self.server.address.sentinels {
            return self.explore_by(&sentinels.clone());
        }
        let mut why = None;
        for node in self.server.candidates() {
            let asked = match self.connected(&node) {
                Ok(_) => {
                    let server = Arc::clone(&self.server);
                    let link = self.links.get_mut(&node);
                    link.map_or(Ok(()), |link| server.explore(&node, link)).map_err(Broken::Lost)
                }
                Err(broken) => Err(broken),
            };
            match asked {
                Ok(()) => return Ok(None),
                Err(broken) => why = Some(self.broken(&node, broken)?),
            }
        }
        Ok(why)
    }

    /// Finds out from sentinels who the primary is, and asks that one: a sentinel may not have heard yet.
    fn explore_by(&mut self, sentinels: &Sentinels) -> Result<Option<Error>> {
        let (mut why, mut refused) = (None, None);
        for sentinel in &sentinels.nodes {
            let master = match self.server.ask_sentinel(sentinels, sentinel) {
                Ok(master) => master,
                // Another one may know better.
                Err(Broken::Refused(error)) => {
                    refused = Some(error);
                    continue;
                }
                Err(broken) => {
                    why = Some(self.broken(sentinel, broken)?);
                    continue;
                }
            };
            match self.connected(&master).and_then(|link| sentinel::confirm(link, &master)) {
                Ok(()) => {
                    self.server.follow(master);
                    return Ok(None);
                }
                Err(broken) => why = Some(self.broken(&master, broken)?),
            }
        }
        refused.map_or(Ok(why), Err)
    }
}

enum Judged {
    Done(Reply),
    Again(Error),
}

/// What a reply refuses with.
pub fn refusal(reply: &Reply) -> Option<&Refusal> {
    match reply {
        Reply::Error(refusal) => Some(refusal),
        _ => None,
    }
}

/// A reply that is of another kind than the command gives.
pub fn unexpected(reply: &Reply) -> Error {
    let kind = match reply {
        Reply::Nil => "nothing",
        Reply::Status(_) => "a status",
        Reply::Int(_) => "a number",
        Reply::Bulk(_) => "bytes",
        Reply::Texts(_) | Reply::Array(_) => "an array",
        Reply::Error(_) => "a refusal",
    };
    Error::new(ErrorKind::Failed, "the Redis server gives an answer of another kind than asked for")
        .with("answer", kind)
}

/// The number in a reply.
///
/// # Errors
/// `failed` where it is none.
pub fn int(reply: &Reply) -> Result<i64> {
    match reply {
        Reply::Int(number) => Ok(*number),
        _ => Err(unexpected(reply)),
    }
}

/// The byte strings in a reply.
///
/// # Errors
/// `failed` where it holds others.
pub fn texts(reply: Reply) -> Result<Texts> {
    match reply {
        Reply::Texts(texts) => Ok(texts),
        _ => Err(unexpected(&reply)),
    }
}

/// The bytes in a reply, if there are any.
///
/// # Errors
/// `failed` where it is something else.
pub fn bytes(reply: Reply) -> Result<Option<Vec<u8>>> {
    match reply {
        Reply::Bulk(bytes) => Ok(Some(bytes)),
        Reply::Nil => Ok(None),
        _ => Err(unexpected(&reply)),
    }
}
