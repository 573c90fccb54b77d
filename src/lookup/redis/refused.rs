//! What a server's refusals mean: asked again, or told to the user.

use super::wire::Refusal;
use crate::error::{Error, ErrorKind};

/// What is to be done about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same node may do it in a while.
    Wait,
    /// Another node has become the one to ask.
    Elsewhere,
    /// The key lies at another node.
    Moved,
    /// The key is on its way to another node, which has to be asked this once.
    Ask,
    /// Asking again helps nothing.
    Final,
}

/// What a refusal means.
pub fn verdict(refusal: &Refusal) -> Verdict {
    match refusal.code.as_str() {
        "MOVED" => Verdict::Moved,
        "ASK" => Verdict::Ask,
        "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" => Verdict::Elsewhere,
        "LOADING" | "TRYAGAIN" | "BUSY" | "NOREPLICAS" | "OOM" => Verdict::Wait,
        "ERR" if refusal.line.contains("max number of clients") => Verdict::Wait,
        _ => Verdict::Final,
    }
}

/// A refusal as an error; `words` are the server's without secrets.
pub fn error(refusal: &Refusal, words: &str) -> Error {
    let because = |error: Error| error.because(words.to_owned());
    let transient = |what: &str| because(Error::new(ErrorKind::Transient, what));
    match refusal.code.as_str() {
        "NOAUTH" | "WRONGPASS" => because(Error::failed("the Redis server refuses the user or password"))
            .hint("set them in the URL, or in LAKEMILL_REDIS_USERNAME and LAKEMILL_REDIS_PASSWORD"),
        "NOPERM" => because(Error::failed("the Redis user lacks a right"))
            .hint("README.md, \"Redis\", has the ACL rule that lakemill needs"),
        "OOM" => because(Error::new(ErrorKind::Budget, "the Redis server has no memory left for this lookup table"))
            .hint("raise maxmemory, keep fewer generations (keep_generations), or remove garbage (lakemill lookup gc)"),
        "READONLY" => transient("the Redis server is a replica: nothing can be written there")
            .hint(
                "give the URL of the primary (or of its sentinels: redis+sentinel://), or run again once a failover has ended",
            ),
        "LOADING" => transient("the Redis server is still loading its data"),
        "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" => transient("the Redis cluster does not serve all of its slots"),
        "MOVED" | "ASK" => transient("the Redis cluster is moving its slots")
            .hint("a user limited by ACL needs the right to ask for them: +cluster|slots"),
        "NOREPLICAS" => transient("the Redis server wants more replicas before it takes writes"),
        "BUSY" => transient("the Redis server is busy with a script"),
        "MISCONF" => because(Error::failed("the Redis server takes no writes, for it cannot save its data"))
            .hint("look at its log and at its disk"),
        "WRONGTYPE" => because(Error::failed("a key of this lookup table holds something else"))
            .hint("give the table a prefix of its own: [lookup] prefix"),
        "ERR" if words.contains("max number of clients") => transient("the Redis server takes no more connections"),
        _ => because(Error::failed("the Redis server refuses a command")),
    }
}
