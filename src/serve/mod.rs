//! `lakemill serve`: lookup tables over HTTP.
//!
//! ```text
//! request ──connections──> router ──server──> Served ──split──> Arm ──> Held (current, previous) ──> LookupReader
//!                                                                         ^ swapped whole by Followed::look, every `poll`
//! ```
//!
//! A request takes what a table holds once and is answered from that alone, so an answer belongs to one generation
//! however often the pointer flips meanwhile; readers of a generation outlive its removal. Opening (and reading back)
//! the next generation happens aside, and nobody waits for it. Where something is missing, the answer says what
//! stands in for it: the previous generation, a fallback value, or a problem of its own word.
//!
//! Values are the store's own bytes, never parsed. Stores are read in one place (`generation::Reads`): LMDB on the
//! thread that answers, stores over a network on threads that may wait; one that does not answer is not waited for
//! (`breaker`).

mod answer;
mod breaker;
mod connections;
mod followed;
mod generation;
mod keys;
mod openapi;
mod problem;
mod route;
mod served;
mod server;
pub mod settings;
mod slow;
mod split;
mod telemetry;
mod tls;
mod tokens;

use crate::error::{Error, Result, did_you_mean};
use crate::lookup::{LookupStore, LookupTable};
use axum::body::Bytes;
use axum::http::HeaderValue;
use connections::{Connections, stopped};
use followed::{Followed, Following};
use generation::Reads;
use served::{Arm, Policy, Served};
use server::{Server, router};
use settings::{Length, Limits, Previous, TableSettings, TlsFiles};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use telemetry::Telemetry;
use tls::Tls;
use tokens::Tokens;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How often the pointer is looked at where nothing is said; in a bucket each look is a request that is paid for.
const POLL: Length = Length::secs(1);
const POLL_IN_BUCKET: Length = Length::secs(15);

/// How often the files of tokens and certificates are looked at.
const REREAD: Duration = Duration::from_secs(2);

/// Where tokens come from.
#[derive(Clone)]
pub enum TokenSource {
    /// A file, read again when it changes.
    File(PathBuf),
    /// The text itself, from the environment.
    Text(String),
}

/// Everything that is needed to serve, flags and file together.
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// How often the pointer is looked at.
    pub poll: Option<Length>,
    /// The tokens; without them anybody may ask.
    pub tokens: Option<TokenSource>,
    /// Whether anybody may ask who can reach an address beyond this machine.
    pub allow_anonymous: bool,
    /// The certificate to serve HTTPS with.
    pub tls: Option<TlsFiles>,
    /// What a client may cost.
    pub limits: Limits,
    /// The names that are served.
    pub names: BTreeMap<String, TableSettings>,
    /// The store that keeps the tables.
    pub store: &'static dyn LookupStore,
}

/// A server that listens and has opened its tables, but takes no connection yet.
pub struct Serving {
    listener: TcpListener,
    address: SocketAddr,
    server: Arc<Server>,
    tokens: Option<TokenSource>,
    tls: Option<Arc<Tls>>,
    poll: Duration,
}

impl Serving {
    /// Listens, and opens what is published; `table` makes a lookup table of its name. Tables of which nothing is
    /// published are no error: they are taken up as soon as something is.
    ///
    /// # Errors
    /// Usage: an address that anybody could reach and no token, a split or a fallback that can't be meant, tokens or
    /// certificates that can't be used. `failed` where the address can't be listened on.
    pub async fn open(config: Config, table: impl Fn(&str) -> Result<LookupTable>) -> Result<Self> {
        config.limits.check()?;
        check_exposure(config.listen, config.tokens.is_some() || config.allow_anonymous)?;
        let tokens = config.tokens.as_ref().map(read_tokens).transpose()?.map(RwLock::new);
        let tls = config.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
        if tokens.is_some() && tls.is_none() && !is_loopback(config.listen) {
            tracing::warn!(
                "tokens go over the network in the clear: give a certificate, or put a proxy with one before"
            );
        }
        let telemetry = Telemetry::new();
        let followed = followed(&config, &telemetry, table)?;
        let reads = Reads::of(config.store.name(), &config.limits, &telemetry.store);
        let served = served(&config, &followed, &reads, &telemetry)?;
        let listener = TcpListener::bind(config.listen).await.map_err(|source| {
            Error::failed("the address cannot be listened on").with("listen", config.listen).because(source)
        })?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::failed("the address that is listened on is unknown").because(source))?;
        let followed: Vec<_> = followed.into_values().collect();
        let in_bucket = followed.iter().any(|followed| followed.table.remote.is_some());
        let poll = config.poll.unwrap_or(if in_bucket { POLL_IN_BUCKET } else { POLL }).get();
        futures::future::join_all(followed.iter().map(look)).await;
        check_fallbacks(&served)?;
        let key_bytes = config.store.max_key_bytes();
        let columns = followed.iter().filter_map(|followed| Some(followed.held().active.as_ref()?.key_columns()));
        let facts = openapi::Facts {
            key_columns: columns.max().unwrap_or(1),
            tables: config.names.keys().map(String::as_str).collect(),
            needs_token: tokens.is_some(),
            key_bytes,
            limits: &config.limits,
        };
        let openapi = Bytes::from(openapi::document(&facts).to_string());
        let server = Arc::new(Server {
            served,
            followed,
            breaker: reads.breaker().cloned(),
            tokens,
            limits: config.limits,
            key_bytes,
            telemetry,
            openapi,
            is_stopping: AtomicBool::new(false),
        });
        Ok(Self { listener, address, server, tokens: config.tokens, tls, poll })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether HTTPS is spoken.
    pub fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    /// Of each lookup table the generation that is served, if one is.
    pub fn generations(&self) -> Vec<(String, Option<u64>)> {
        let number = |followed: &Arc<Followed>| followed.held().active.as_ref().map(|active| active.number());
        self.server.followed.iter().map(|followed| (followed.table.name.clone(), number(followed))).collect()
    }

    /// Serves until `stop` is ready; then answers what is under way. Gives how many connections were cut off because
    /// they took too long.
    pub async fn run<T>(self, stop: impl Future<Output = T>) -> usize {
        let (told, telling) = watch::channel(false);
        for followed in &self.server.followed {
            tokio::spawn(follow(followed.clone(), self.poll, telling.clone()));
        }
        if let Some(breaker) = self.server.breaker.clone() {
            let (server, stop) = (self.server.clone(), stopped(telling.clone()));
            let longest = server.limits.read_timeout.get();
            tokio::spawn(async move { breaker.probe(&server.followed, longest, stop).await });
        }
        tokio::spawn(reread(self.server.clone(), self.tokens, self.tls.clone(), telling.clone()));
        let connections = Connections {
            router: router(self.server.clone()),
            limits: self.server.limits.clone(),
            tls: self.tls,
            stop: telling,
            open: self.server.telemetry.connections.clone(),
        };
        let server = self.server;
        let stopping = async {
            let _ = stop.await;
            server.is_stopping.store(true, Ordering::Relaxed);
            let _ = told.send(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            cut = connections.serve(self.listener) => cut,
            () = stopping => 0,
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Others than this machine's users may ask only if that is meant.
fn check_exposure(listen: SocketAddr, is_meant: bool) -> Result<()> {
    if is_meant || is_loopback(listen) {
        return Ok(());
    }
    Err(Error::usage("anybody who reaches this address could read the tables")
        .with("listen", listen)
        .hint("give tokens (--token-file or LAKEMILL_SERVE_TOKENS), or --allow-anonymous if that is meant"))
}

fn read_tokens(source: &TokenSource) -> Result<Tokens> {
    match source {
        TokenSource::File(path) => Tokens::read(path),
        TokenSource::Text(text) => Tokens::parse(text),
    }
}

/// The lookup tables behind the names, each once.
fn followed(
    config: &Config,
    telemetry: &Telemetry,
    table: impl Fn(&str) -> Result<LookupTable>,
) -> Result<BTreeMap<String, Arc<Followed>>> {
    let mut wanted: BTreeMap<&str, Following> = BTreeMap::new();
    for (name, settings) in &config.names {
        let verify = settings.verify.unwrap_or(config.store.name() == "file");
        let keeps_previous = settings.previous != Previous::Never;
        for behind in tables_of(name, settings) {
            let following = wanted.entry(behind).or_insert(Following { verify: false, keeps_previous: false });
            following.verify |= verify;
            following.keeps_previous |= keeps_previous;
        }
    }
    let followed = wanted.into_iter().map(|(name, following)| {
        let followed = Followed::new(config.store, table(name)?, following, telemetry.table(name));
        Ok((name.to_owned(), Arc::new(followed)))
    });
    followed.collect()
}

/// The lookup tables behind a name, in the order of its arms.
fn tables_of<'a>(name: &'a str, settings: &'a TableSettings) -> Vec<&'a str> {
    match &settings.split {
        Some(arms) => arms.iter().map(|(arm, _)| settings.table_of(arm)).collect(),
        None => vec![name],
    }
}

fn served(
    config: &Config,
    followed: &BTreeMap<String, Arc<Followed>>,
    reads: &Reads,
    telemetry: &Telemetry,
) -> Result<HashMap<String, Served>> {
    let mut served = HashMap::new();
    for (name, settings) in &config.names {
        let names: Vec<&str> = match &settings.split {
            Some(arms) => arms.iter().map(|(arm, _)| arm.as_str()).collect(),
            None => vec![name],
        };
        let split = settings.split(name)?;
        let arms = names.into_iter().zip(tables_of(name, settings)).map(|(arm, behind)| {
            let followed = followed.get(behind).ok_or_else(|| Error::failed("a table is not followed"))?;
            let header = |text: &str| {
                HeaderValue::from_str(text)
                    .map_err(|source| Error::usage("not a name").with("name", text).because(source))
            };
            let asked = if split.is_some() { telemetry.arm(name, arm) } else { Default::default() };
            let (header, table_header) = (header(arm)?, header(behind)?);
            Ok(Arm {
                name: arm.to_owned(),
                header,
                table_header,
                followed: followed.clone(),
                reads: reads.clone(),
                asked,
            })
        });
        let arms = arms.collect::<Result<Vec<_>>>()?;
        served.insert(name.clone(), Served { name: name.clone(), policy: policy(settings)?, split, arms });
    }
    Ok(served)
}

fn policy(settings: &TableSettings) -> Result<Policy> {
    let json = |members| {
        let bytes = serde_json::to_vec(members);
        bytes.map(Bytes::from).map_err(|source| Error::usage("the fallback is no JSON").because(source))
    };
    Ok(Policy {
        stale_after: settings.stale_after.map(Length::get),
        fallback: settings.fallback.as_ref().map(json).transpose()?,
        previous_when_missing: settings.previous == Previous::WhenMissing,
    })
}

/// A fallback stands in for a value, so it has no other members than that.
fn check_fallbacks(served: &HashMap<String, Served>) -> Result<()> {
    for served in served.values() {
        let Some(fallback) = &served.policy.fallback else { continue };
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(fallback)
            .map_err(|source| Error::failed("the fallback can't be read back").because(source))?;
        for arm in &served.arms {
            let held = arm.followed.held();
            let Some(active) = &held.active else { continue };
            let columns = || active.reader().metadata().values.iter().map(|column| column.name.as_str());
            if let Some(unknown) = members.keys().find(|member| !columns().any(|column| column == *member)) {
                let error = Error::usage("the fallback has a member that the table's values lack")
                    .with("table", &arm.followed.table.name)
                    .with("member", unknown);
                return Err(match did_you_mean(unknown, columns()) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("values have: {}", columns().collect::<Vec<_>>().join(", "))),
                });
            }
        }
    }
    Ok(())
}

/// Looks at a table's pointer on a thread that may block.
async fn look(followed: &Arc<Followed>) {
    let followed = followed.clone();
    // A panic has been told by then, and the next look comes.
    let _ = tokio::task::spawn_blocking(move || followed.look()).await;
}

async fn follow(followed: Arc<Followed>, poll: Duration, stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = stopped(stop.clone()) => return,
            () = tokio::time::sleep(poll) => look(&followed).await,
        }
    }
}

/// Takes up tokens and certificates that have changed.
async fn reread(server: Arc<Server>, source: Option<TokenSource>, tls: Option<Arc<Tls>>, stop: watch::Receiver<bool>) {
    let mut told = None;
    loop {
        tokio::select! {
            () = stopped(stop.clone()) => return,
            () = tokio::time::sleep(REREAD) => {}
        }
        let (server, source, tls) = (server.clone(), source.clone(), tls.clone());
        let read = tokio::task::spawn_blocking(move || read_again(&server, source.as_ref(), tls.as_deref())).await;
        match read {
            Ok(Err(error)) => {
                let text = format!("{error:?}");
                if told.as_ref() != Some(&text) {
                    tracing::warn!("what was read before is used on: {text}");
                    told = Some(text);
                }
            }
            Ok(Ok(())) | Err(_) => told = None,
        }
    }
}

fn read_again(server: &Server, source: Option<&TokenSource>, tls: Option<&Tls>) -> Result<()> {
    if let (Some(tokens), Some(source @ TokenSource::File(_))) = (&server.tokens, source) {
        let read = read_tokens(source)?;
        if *tokens.read().unwrap_or_else(PoisonError::into_inner) != read {
            *tokens.write().unwrap_or_else(PoisonError::into_inner) = read;
            tracing::info!("the tokens have changed");
        }
    }
    if tls.map(Tls::reload).transpose()? == Some(true) {
        tracing::info!("the certificate has changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_ask_unless_it_is_meant() {
        for inside in ["127.0.0.1:0", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(check_exposure(inside.parse().unwrap(), false).is_ok(), "{inside}");
        }
        for outside in ["0.0.0.0:0", "[::]:80", "10.0.0.7:80", "192.168.1.1:80"] {
            assert!(check_exposure(outside.parse().unwrap(), false).is_err(), "{outside}");
            assert!(check_exposure(outside.parse().unwrap(), true).is_ok(), "{outside}");
        }
    }
}
