//! One connection to one server: opened, secured, authenticated, in the right database.

use super::address::{Login, Node};
use super::tls::{Tls, is_closed, last_words};
use super::wire::{Incoming, Reply, command};
use crate::error::{Error, Result};
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one address of a server is waited for.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no connection, or no longer one.
pub enum Broken {
    /// Another try may succeed.
    Lost(io::Error),
    /// No other try does.
    Refused(Error),
    /// The server says no for now, by its own words.
    Unready(super::wire::Refusal),
    /// It is not the one to ask for now.
    Waiting(Error),
}

/// A connection. After an error of it nothing else may be read from it: replies would be taken for those of others.
pub struct Link {
    stream: Stream,
    incoming: Incoming,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

/// How a connection is opened.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Who asks.
    pub login: &'a Login,
    /// The number of the database.
    pub database: u32,
    /// How it is secured, if it is.
    pub tls: Option<&'a Tls>,
    /// How long a reply is waited for.
    pub timeout: Duration,
}

impl Link {
    /// Connects to `node`.
    pub fn open(node: &Node, opening: Opening<'_>) -> Result<Self, Broken> {
        let tcp = connect(node).map_err(Broken::Lost)?;
        let settle = || {
            tcp.set_nodelay(true)?;
            tcp.set_read_timeout(Some(opening.timeout))?;
            tcp.set_write_timeout(Some(opening.timeout))
        };
        settle().map_err(Broken::Lost)?;
        let stream = match opening.tls {
            None => Stream::Plain(tcp),
            Some(tls) => Stream::Tls(Box::new(tls.secured(node, tcp)?)),
        };
        let mut link = Self { stream, incoming: Incoming::default() };
        let introduced = link.introduce(opening);
        match (introduced, opening.tls) {
            (Ok(()), _) => Ok(link),
            (Err(Broken::Lost(source)), Some(tls)) => Err(tls.broken(node, link.why(source))),
            (Err(broken), _) => Err(broken),
        }
    }

    /// Why a connection has ended, where the other side has said so.
    fn why(&mut self, source: io::Error) -> io::Error {
        match &mut self.stream {
            Stream::Tls(stream) if is_closed(&source) => last_words(stream).unwrap_or(source),
            _ => source,
        }
    }

    /// Sends commands; their replies have to be read.
    pub fn send(&mut self, commands: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(commands),
            Stream::Tls(stream) => stream.write_all(commands).and_then(|()| stream.flush()),
        }
    }

    /// The next reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        self.incoming.reply(&mut self.stream)
    }

    fn introduce(&mut self, opening: Opening<'_>) -> Result<(), Broken> {
        let mut first = Vec::new();
        let mut asked = 0;
        if let Some(password) = &opening.login.password {
            let password = password.reveal().as_bytes();
            match &opening.login.user {
                Some(user) => command(&mut first, &[b"AUTH", user.as_bytes(), password]),
                None => command(&mut first, &[b"AUTH", password]),
            }
            asked += 1;
        }
        if opening.database != 0 {
            command(&mut first, &[b"SELECT", opening.database.to_string().as_bytes()]);
            asked += 1;
        }
        // Whether the server admits a client over TLS is known with the first reply, whatever that is.
        if opening.tls.is_some() {
            command(&mut first, &[b"PING"]);
        }
        self.send(&first).map_err(Broken::Lost)?;
        for _ in 0..asked {
            if let Reply::Error(refusal) = self.reply().map_err(Broken::Lost)? {
                return Err(match super::refused::verdict(&refusal) {
                    super::refused::Verdict::Final => Broken::Refused(not_admitted(opening, &refusal)),
                    _ => Broken::Unready(refusal),
                });
            }
        }
        if opening.tls.is_some() {
            self.reply().map_err(Broken::Lost)?;
        }
        Ok(())
    }
}

fn not_admitted(opening: Opening<'_>, refusal: &super::wire::Refusal) -> Error {
    let secret = opening.login.password.as_ref();
    let words = secret.map_or_else(|| refusal.line.clone(), |secret| secret.hide_in(&refusal.line));
    if words.contains("SELECT is not allowed in cluster mode") || words.contains("DB index is out of range") {
        return Error::usage("the Redis server has no such database")
            .with("database", opening.database)
            .because(words)
            .hint("a cluster has database 0 only; elsewhere the server's `databases` setting says how many there are");
    }
    if refusal.code == "ERR" {
        return Error::failed("the Redis server refuses the user or password").because(words);
    }
    super::refused::error(refusal, &words)
}

fn connect(node: &Node) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (node.host.as_str(), node.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
