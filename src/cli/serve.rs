//! `lakemill serve`: lookup tables over HTTP.

use super::{Home, Session};
use crate::error::{Error, Result};
use crate::lake::{Location, check_name};
use crate::lookup::{LookupOptions, LookupTable, lookup};
use crate::runtime::stop_signal;
use crate::serve::settings::{Settings, TableSettings, TlsFiles, load};
use crate::serve::{Config, Serving, TokenSource};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: Home,
    /// The store that keeps the tables [default: file]
    #[arg(long, value_name = "STORE", env = "LAKEMILL_LOOKUP_STORE", hide_env_values = true)]
    store: Option<String>,
    /// What the names of all keys of a server begin with [default: lakemill]
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// A table to serve, as often as wanted [default: those of --config, else all that are published]
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// The address to listen on; port 0 is any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A TOML file with all of this, and with limits, fallbacks and splits (see README.md)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with bearer tokens, one a line; any of them is let in. Without it: LAKEMILL_SERVE_TOKENS
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let anybody ask who can reach an address beyond this machine
    #[arg(long)]
    allow_anonymous: bool,
    /// Serve HTTPS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// Tokens from the environment, parted by blanks.
const TOKENS: &str = "LAKEMILL_SERVE_TOKENS";

pub(super) fn run(session: &Session, args: Args) -> Result<()> {
    let settings = args.config.as_deref().map(load).transpose()?.unwrap_or_default();
    session.engine.runtime.run_until_told(async {
        let stop = stop_signal();
        tokio::pin!(stop);
        let open = open(args, settings);
        let serving = tokio::select! {
            serving = open => serving?,
            kind = &mut stop => return Err(Error::new(kind, "stopped by a signal before anything was served")),
        };
        tell(session, &serving)?;
        let cut = serving.run(stop).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "requests that took too long were cut off");
        }
        Ok(())
    })
}

async fn open(args: Args, settings: Settings) -> Result<Serving> {
    let url = args.store.or(settings.store).unwrap_or_else(|| "file".to_owned());
    let store = lookup(&url)?;
    // A server knows its tables without a home.
    let home = match (store.name(), &args.home.home, &settings.home) {
        ("file", None, Some(home)) => Some(Home { home: Some(home.into()) }.location()?),
        ("file", ..) => Some(args.home.location()?),
        _ => None,
    };
    let names = names(&args.table, settings.tables, home.as_ref()).await?;
    let mut options = LookupOptions::default();
    if let Some(prefix) = args.prefix.or(settings.prefix) {
        options.prefix = prefix;
    }
    let config = Config {
        listen: args.listen.or(settings.listen).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 8080).into()),
        poll: settings.poll,
        tokens: tokens(args.token_file.or(settings.token_file))?,
        allow_anonymous: args.allow_anonymous || settings.allow_anonymous,
        tls: args
            .tls_certificate
            .zip(args.tls_key)
            .map(|(certificate, key)| TlsFiles { certificate, key })
            .or(settings.tls),
        limits: settings.limits,
        names,
        store,
    };
    Serving::open(config, |name| {
        check_name("table", name)?;
        let table = match &home {
            Some(home) => LookupTable::under(home, name, &url)?,
            None => LookupTable::of_server(name, &url),
        };
        Ok(table.with(options.clone()))
    })
    .await
}

/// What is served: what the flags name, else what the file names, else what is published.
async fn names(
    flags: &[String],
    mut settings: BTreeMap<String, TableSettings>,
    home: Option<&Location>,
) -> Result<BTreeMap<String, TableSettings>> {
    let wanted = match (flags, settings.is_empty(), home) {
        ([], false, _) => settings.keys().cloned().collect(),
        ([], true, Some(home)) => home.join("lookup").children().await?,
        (flags, ..) => flags.to_vec(),
    };
    if wanted.is_empty() {
        let error = Error::usage("there is no table to serve");
        let error = if let Some(home) = home { error.with("home", home) } else { error };
        return Err(error.hint("name one by --table: it is served as soon as a run publishes it"));
    }
    let named = wanted.into_iter().map(|name| {
        check_name("table", &name)?;
        let settings = settings.remove(&name).unwrap_or_default();
        Ok((name, settings))
    });
    named.collect()
}

fn tokens(file: Option<PathBuf>) -> Result<Option<TokenSource>> {
    match (file, std::env::var(TOKENS)) {
        (Some(file), _) => Ok(Some(TokenSource::File(file))),
        (None, Ok(text)) => Ok(Some(TokenSource::Text(text))),
        (None, Err(std::env::VarError::NotPresent)) => Ok(None),
        (None, Err(_)) => Err(Error::usage("the tokens are no text").with("variable", TOKENS)),
    }
}

/// Tells where the server is, once it can be asked.
fn tell(session: &Session, serving: &Serving) -> Result<()> {
    let scheme = if serving.is_https() { "https" } else { "http" };
    let url = format!("{scheme}://{}", serving.address());
    let generations = serving.generations();
    let tables = generations.iter().map(|(name, generation)| (name.clone(), json!(generation)));
    let tables: Value = tables.collect::<serde_json::Map<_, _>>().into();
    session.ui.show(&json!({ "url": url, "tables": tables }), || {
        let shown = generations.iter().map(|(name, generation)| match generation {
            Some(generation) => format!("{name} (generation {generation})"),
            None => format!("{name} (nothing published yet)"),
        });
        format!("serving {} on {url}", shown.collect::<Vec<_>>().join(", "))
    })
}
