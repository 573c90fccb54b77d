//! What is to be served, and how: the configuration file as it is written.

use super::split::Split;
use crate::error::{Error, Result, did_you_mean};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A configuration file. Everything may be left out; flags override it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the lookup tables are: a folder, relative to the file's, or a URL.
    pub home: Option<String>,
    /// The store that keeps them.
    pub store: Option<String>,
    /// What the names of all keys of a server begin with.
    pub prefix: Option<String>,
    /// The address to listen on.
    pub listen: Option<SocketAddr>,
    /// How often the pointer to the current generation is looked at.
    pub poll: Option<Length>,
    /// The file that holds the tokens, one a line.
    pub token_file: Option<PathBuf>,
    /// Whether anybody may ask who can reach an address beyond this machine.
    pub allow_anonymous: bool,
    /// The certificate to serve HTTPS with.
    pub tls: Option<TlsFiles>,
    /// What a client may cost.
    pub limits: Limits,
    /// The names that are served.
    pub tables: BTreeMap<String, TableSettings>,
}

/// A certificate chain and its key, each a PEM file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
}

/// What a client may cost. None of them can be turned off.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest body of a request, in bytes.
    pub body_bytes: usize,
    /// The most keys of one request.
    pub keys: usize,
    /// Connections that are open at once; further ones wait in the system's queue.
    pub connections: usize,
    /// Reads from a store over the network that are under way at once.
    pub reads: usize,
    /// The longest wait for the head of a request (so also for the next request of a connection) and for the TLS
    /// handshake.
    pub header_timeout: Length,
    /// The longest time from the head of a request to its answer.
    pub request_timeout: Length,
    /// The longest that a read from a store over the network may take.
    pub read_timeout: Length,
    /// The longest wait for a client to take anything of its answer.
    pub write_timeout: Length,
    /// The longest time that requests under way may still take once the server is told to stop.
    pub drain_timeout: Length,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 256 << 10,
            keys: 1000,
            connections: 512,
            reads: 64,
            header_timeout: Length::secs(20),
            request_timeout: Length::secs(10),
            read_timeout: Length::secs(2),
            write_timeout: Length::secs(10),
            drain_timeout: Length::secs(8),
        }
    }
}

/// When the generation before the current one is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Previous {
    /// Never: it is not even opened.
    Never,
    /// Where the current one is missing or damaged.
    #[default]
    WhenDamaged,
    /// There, and for keys that the current one lacks.
    WhenMissing,
}

/// How one name is served.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableSettings {
    /// Values are called stale from this age on: the time since the end of the interval that they were made for.
    pub stale_after: Option<Length>,
    /// What is answered for a key that has no value, or whose generation can't be read: some of the value's members.
    #[serde(deserialize_with = "members")]
    pub fallback: Option<Map<String, Value>>,
    /// When the generation before the current one is asked.
    pub previous: Previous,
    /// Whether a new generation is read whole and compared with its checksum before it is served; if nothing is said,
    /// in the embedded store.
    pub verify: Option<bool>,
    /// Arms and their weights, in this order: each key belongs to one of them.
    #[serde(deserialize_with = "weights")]
    pub split: Option<Vec<(String, u64)>>,
    /// The lookup tables of the arms; an arm that is not named here is the table of its own name.
    pub arms: BTreeMap<String, String>,
    /// What is hashed before the key; the served name, if nothing is said.
    pub salt: Option<String>,
}

impl TableSettings {
    /// The split that is meant, checked.
    ///
    /// # Errors
    /// Usage: weights that make no split, or words that mean something only beside one.
    pub fn split(&self, name: &str) -> Result<Option<Split>> {
        let Some(weights) = &self.split else {
            let alone = [("arms", !self.arms.is_empty()), ("salt", self.salt.is_some())];
            return match alone.iter().find(|(_, is_there)| *is_there) {
                Some((word, _)) => Err(Error::usage(format!("`{word}` means something only beside `split`"))
                    .with("table", name)
                    .hint("write for example split = { champion = 90, challenger = 10 }")),
                None => Ok(None),
            };
        };
        if let Some(unknown) = self.arms.keys().find(|arm| weights.iter().all(|(known, _)| known != *arm)) {
            let error = Error::usage("`arms` names an arm that `split` lacks").with("table", name).with("arm", unknown);
            return Err(match did_you_mean(unknown, weights.iter().map(|(arm, _)| arm.as_str())) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("give it a weight under `split`"),
            });
        }
        Split::new(self.salt.as_deref().unwrap_or(name), weights).map(Some).map_err(|error| error.with("table", name))
    }

    /// The lookup table of an arm.
    pub fn table_of<'a>(&'a self, arm: &'a str) -> &'a str {
        self.arms.get(arm).map_or(arm, String::as_str)
    }
}

/// A length of time such as `500ms`, `20s` or `36h`; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(Duration);

impl Length {
    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Timers and sums of instants stay in range below it: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refused = |why: &str| D::Error::custom(format!("`{text}` is not a length of time: {why}"));
        match humantime::parse_duration(&text) {
            Ok(Duration::ZERO) => Err(refused("it must be longer than nothing")),
            Ok(length) if length > LONGEST => Err(refused("it is longer than a hundred years")),
            Ok(length) => Ok(Self(length)),
            Err(why) => Err(refused(&format!("{why}; write e.g. 500ms, 20s or 36h"))),
        }
    }
}

/// Members of a value: JSON in the order in which they are written.
fn members<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Map<String, Value>>, D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    let json = table.into_iter().map(|(name, value)| {
        let value = json(value).ok_or_else(|| {
            D::Error::custom(format!(
                "`{name}` is no JSON: values are texts, finite numbers, booleans and lists of them"
            ))
        });
        Ok((name, value?))
    });
    json.collect::<Result<_, _>>().map(Some)
}

fn json(value: toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)?.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Table(_) | toml::Value::Datetime(_) => return None,
    })
}

fn weights<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<(String, u64)>>, D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    let weights = table.into_iter().map(|(arm, weight)| {
        let weight = weight.as_integer().and_then(|weight| u64::try_from(weight).ok());
        weight
            .map(|weight| (arm.clone(), weight))
            .ok_or_else(|| D::Error::custom(format!("the weight of `{arm}` is not a whole number from 0")))
    });
    weights.collect::<Result<_, _>>().map(Some)
}

/// Reads a configuration file; its paths are made absolute.
///
/// # Errors
/// A usage error with the line and what is wrong there.
pub fn load(path: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        Error::usage("the configuration cannot be read").with("file", path.display()).because(source)
    })?;
    let mut settings: Settings = parse(&text).map_err(|error| error.with("file", path.display()))?;
    let folder = std::path::absolute(path)
        .map_err(|source| Error::failed("there is no current folder").because(source))?
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf);
    settings.home = settings.home.map(|home| match home.contains("://") {
        true => home,
        false => folder.join(home).to_string_lossy().into_owned(),
    });
    settings.token_file = settings.token_file.map(|file| folder.join(file));
    settings.tls =
        settings.tls.map(|tls| TlsFiles { certificate: folder.join(tls.certificate), key: folder.join(tls.key) });
    Ok(settings)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    toml::from_str(text).map_err(|source| {
        let line = source.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let message = source.message().trim_end().to_owned();
        // `unknown field `x`, expected one of `a`, `b``: the first name is the wrong one.
        let mut names = message.split('`').skip(1).step_by(2);
        let near = match (message.starts_with("unknown field"), names.next()) {
            (true, Some(unknown)) => did_you_mean(unknown, names).map(str::to_owned),
            _ => None,
        };
        let mut error = Error::usage(format!("the configuration is wrong: {message}"));
        if let Some(line) = line {
            error = error.with("line", line);
        }
        match near {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("README.md, \"Serving lookups\", shows a whole configuration"),
        }
    })
}

impl Limits {
    /// Checks that something can be served within them.
    ///
    /// # Errors
    /// Usage: one of them is zero, or so large that it is none.
    pub fn check(&self) -> Result<()> {
        let most = [
            ("body_bytes", self.body_bytes, 1 << 30),
            ("keys", self.keys, 1_000_000),
            ("connections", self.connections, 1 << 20),
            ("reads", self.reads, 512),
        ];
        match most.iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
            Some((name, value, most)) => Err(Error::usage("a limit is out of range")
                .with("limit", name)
                .with("value", value)
                .hint(format!("give a whole number from 1 to {most}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Settings {
        parse(text).unwrap()
    }

    fn refused(text: &str) -> Error {
        parse::<Settings>(text).expect_err(text)
    }

    #[test]
    fn a_whole_configuration_is_read() {
        let settings = parsed(
            r#"
            home = "home"
            listen = "[::1]:9000"
            poll = "250ms"
            [tls]
            certificate = "cert.pem"
            key = "key.pem"
            [limits]
            keys = 7
            header_timeout = "2s"
            [tables.card_fraud]
            stale_after = "36h"
            fallback = { score = 0.0, note = "none", prediction = 0 }
            previous = "when_missing"
            split = { champion = 90, challenger = 10 }
            arms = { champion = "card_fraud" }
            "#,
        );
        assert_eq!(settings.listen.unwrap().to_string(), "[::1]:9000");
        assert_eq!(settings.poll, Some(Length::millis(250)));
        assert_eq!(settings.limits, Limits { keys: 7, header_timeout: Length::secs(2), ..Limits::default() });
        let table = &settings.tables["card_fraud"];
        assert_eq!(
            serde_json::to_string(table.fallback.as_ref().unwrap()).unwrap(),
            r#"{"score":0.0,"note":"none","prediction":0}"#
        );
        assert_eq!(table.previous, Previous::WhenMissing);
        assert_eq!(table.split.as_ref().unwrap()[0], ("champion".to_owned(), 90));
        assert_eq!((table.table_of("champion"), table.table_of("challenger")), ("card_fraud", "challenger"));
        assert!(table.split("card_fraud").unwrap().is_some());
    }

    #[test]
    fn mistakes_are_told_with_line_and_hint() {
        let error = refused("home = \"x\"\n[limits]\nkey = 3\n");
        assert!(error.context().contains(&("line", "3".to_owned())), "{error:?}");
        assert_eq!(error.hint_text(), Some("did you mean `keys`?"));
        for (text, why) in [
            ("poll = \"0s\"", "longer than nothing"),
            ("poll = \"soon\"", "not a length of time"),
            ("[tables.t]\nfallback = { x = nan }", "no JSON"),
            ("[tables.t]\nfallback = { x = 2018-06-20 }", "no JSON"),
            ("[tables.t]\nsplit = { a = -1 }", "not a whole number"),
            ("[tables.t]\nprevious = \"always\"", "when_missing"),
            ("listen = \"localhost\"", "socket address"),
        ] {
            assert!(refused(text).message().contains(why), "{text}: {:?}", refused(text));
        }
    }

    #[test]
    fn words_of_a_split_need_one() {
        for text in ["arms = { a = \"b\" }", "salt = \"x\"", "split = { a = 1 }\narms = { b = \"c\" }"] {
            let settings: TableSettings = parse(text).unwrap();
            assert!(settings.split("t").is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_limits() {
        assert!(Limits::default().check().is_ok());
        assert!(Limits { keys: 0, ..Limits::default() }.check().is_err());
        assert!(Limits { connections: usize::MAX, ..Limits::default() }.check().is_err());
    }
}
