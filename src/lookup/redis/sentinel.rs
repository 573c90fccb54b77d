//! Sentinels: servers beside a primary and its replicas, which watch them, name a new primary where the old one is gone,
//! and tell clients which one it is.

use super::address::Node;
use super::link::{Broken, Link};
use super::refused::{Verdict, error, verdict};
use super::wire::{Reply, command};
use crate::error::{Error, ErrorKind};
use std::io;
use std::time::Duration;

/// How long one sentinel is waited for: there are others.
pub const TIMEOUT: Duration = Duration::from_secs(5);

const REFUSED: &str = "the Redis sentinel refuses the user or password";
const LOGIN: &str =
    "sentinels have their own: set LAKEMILL_REDIS_SENTINEL_USERNAME and LAKEMILL_REDIS_SENTINEL_PASSWORD";

/// What a sentinel has refused, in words that tell it from a server.
pub fn not_admitted(broken: Broken) -> Broken {
    match broken {
        Broken::Refused(error) if error.message() == "the Redis server refuses the user or password" => {
            Broken::Refused(Error::failed(REFUSED).because(error).hint(LOGIN))
        }
        other => other,
    }
}

/// Which server is the primary of `name`, as the sentinel at the other end of `link` has it.
pub fn master(link: &mut Link, name: &str, sentinel: &Node) -> Result<Node, Broken> {
    let reply = ask(link, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()])?;
    let node = match &reply {
        Reply::Texts(texts) if texts.len() == 2 => {
            let text = |index| std::str::from_utf8(texts.get(index)).ok();
            text(0).zip(text(1).and_then(|port| port.parse().ok())).map(|(host, port)| Node { host: host.into(), port })
        }
        Reply::Nil => {
            return Err(Broken::Refused(
                Error::usage("the Redis sentinel knows no such primary")
                    .with("master", name)
                    .with("sentinel", sentinel)
                    .hint("its name stands behind the hosts in the URL, as in `sentinel monitor NAME ..` of the sentinels"),
            ));
        }
        Reply::Error(refusal) if verdict(refusal) == Verdict::Final => {
            let error = match refusal.code.as_str() {
                "NOAUTH" | "WRONGPASS" => Error::failed(REFUSED).because(refusal.line.clone()).hint(LOGIN),
                "ERR" => Error::failed("what answers is no Redis sentinel")
                    .because(refusal.line.clone())
                    .hint("the hosts of a redis+sentinel:// URL are sentinels; that of a server stands in redis://"),
                _ => error(refusal, &refusal.line),
            };
            return Err(Broken::Refused(error.with("sentinel", sentinel)));
        }
        Reply::Error(refusal) => return Err(Broken::Unready(refusal.clone())),
        _ => None,
    };
    node.ok_or_else(|| Broken::Lost(io::Error::new(io::ErrorKind::InvalidData, "it names no host and port")))
}

/// Whether the server at the other end of `link` is a primary; taken for one where the user may not ask.
pub fn confirm(link: &mut Link, node: &Node) -> Result<(), Broken> {
    let role = match ask(link, &[b"ROLE"])? {
        Reply::Array(parts) => parts.into_iter().next(),
        Reply::Texts(texts) => Some(Reply::Bulk(texts.get(0).to_vec())),
        _ => None,
    };
    match role {
        Some(Reply::Bulk(role)) if role != b"master" => Err(Broken::Waiting(
            Error::new(ErrorKind::Transient, "the Redis sentinels name a primary that is a replica")
                .with("server", node)
                .hint("a failover goes on; run again once it has ended"),
        )),
        _ => Ok(()),
    }
}

fn ask(link: &mut Link, parts: &[&[u8]]) -> Result<Reply, Broken> {
    let mut asked = Vec::new();
    command(&mut asked, parts);
    link.send(&asked).and_then(|()| link.reply()).map_err(Broken::Lost)
}
