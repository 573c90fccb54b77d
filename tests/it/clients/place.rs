//! Tables where readers find them: in files, and in a Redis server in both of its layouts.

use crate::redis::server::Server;
use arrow::array::RecordBatch;
use arrow::compute::{sort_to_indices, take_record_batch};
use lakemill::lake::Location;
use lakemill::lookup::{
    Base, Columns, FlipNote, KeyColumns, Layout, Load, LookupOptions, LookupStore, LookupTable, Mode, Origin,
    Provenance, lookup,
};
use redis::Commands;
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const TABLE: &str = "fraud";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Buckets,
    Strings,
}

impl Kind {
    pub const ALL: &[Self] = &[Self::File, Self::Buckets, Self::Strings];
    pub const SERVER: &[Self] = &[Self::Buckets, Self::Strings];
}

/// A server for all tests here; they have a prefix each.
static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| Server::start(&[]));

/// One table, of one store.
pub struct Place {
    kind: Kind,
    store: &'static dyn LookupStore,
    table: LookupTable,
    location: String,
    home: TempDir,
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.kind)
    }
}

impl Place {
    /// A table in which nothing is published yet; `None` where its server cannot be had, which is said.
    pub fn new(kind: Kind) -> Option<Self> {
        let url = if kind == Kind::File { String::new() } else { SERVER.as_ref()?.url() };
        Some(Self::on(kind, url))
    }

    /// A table in which nothing is published yet, in files or on this server.
    pub fn on(kind: Kind, url: String) -> Self {
        static TABLES: AtomicU64 = AtomicU64::new(0);
        let home = TempDir::new().unwrap();
        let options = LookupOptions {
            prefix: format!("test-{}", TABLES.fetch_add(1, Ordering::SeqCst)),
            layout: if kind == Kind::Strings { Layout::Strings } else { Layout::Buckets },
            ..LookupOptions::default()
        };
        let folder = home.path().display().to_string();
        let (location, table) = match kind {
            Kind::File => {
                let table = LookupTable::under(&Location::parse(&folder, home.path()).unwrap(), TABLE, "file").unwrap();
                (folder, table)
            }
            Kind::Buckets | Kind::Strings => (url.clone(), LookupTable::of_server(TABLE, &url)),
        };
        Self { kind, store: lookup(&table.store).unwrap(), table: table.with(options), location, home }
    }

    /// What is published from now on is good for so long.
    #[must_use]
    pub fn good_for(self, ttl_secs: u64) -> Self {
        let options = LookupOptions { ttl_secs: Some(ttl_secs), ..self.table.options.clone() };
        Self { table: self.table.with(options), ..self }
    }

    pub fn location(&self) -> &str {
        &self.location
    }

    pub fn table_name(&self) -> &str {
        &self.table.name
    }

    pub fn prefix(&self) -> &str {
        &self.table.options.prefix
    }

    /// The folder of a table in files.
    pub fn folder(&self) -> std::path::PathBuf {
        self.home.path().join("lookup").join(TABLE)
    }

    /// Publishes rows of which the first columns are the key.
    pub fn publish(&self, rows: &RecordBatch, key_columns: usize, keep: usize) {
        self.publish_as(Mode::Replace, rows, key_columns, keep);
    }

    /// Publishes rows in a mode, from the current generation where the mode needs one.
    pub fn publish_as(&self, mode: Mode, rows: &RecordBatch, key_columns: usize, keep: usize) {
        let base = match mode {
            Mode::Replace => Base::Nothing,
            Mode::Merge => Base::Merge(self.current()),
            Mode::Changed => Base::Changed(self.current()),
        };
        let schema = rows.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let (key, values) = names.split_at(key_columns);
        let partitions = self.store.partitions(&self.table, rows.num_rows() as u64, &base).unwrap();
        let codes = KeyColumns::new(key, self.store.max_key_bytes()).sort_codes(rows, partitions).unwrap();
        let sorted = take_record_batch(rows, &sort_to_indices(&codes, None, None).unwrap()).unwrap();
        let columns = Columns { schema: &schema, key, values };
        let origin = Origin { provenance: provenance(), mode, base, partitions };
        let expected = self.store.current(&self.table).unwrap();
        let mut load = Load::begin(self.store, &self.table, &columns, origin, "attempt").unwrap();
        load.push(&sorted).unwrap();
        let sealed = load.verify().unwrap().seal(&now()).unwrap();
        sealed.flip(expected, keep, &note()).unwrap();
    }

    /// Points readers to the generation before.
    pub fn roll_back(&self) {
        let current = self.store.current(&self.table).unwrap().unwrap();
        self.store.rollback(&self.table, None, current, &note()).unwrap();
    }

    /// Every key and value, as the store itself reads them.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let reader = self.store.open(&self.table).unwrap().unwrap();
        let mut visit = |key: &[u8], value: &[u8]| {
            pairs.push((text(key), text(value)));
            Ok(())
        };
        reader.each(&mut visit).unwrap();
        pairs
    }

    /// What is stored as the metadata of the current generation.
    pub fn metadata(&self) -> Value {
        let text: String = match self.kind {
            Kind::File => fs::read_to_string(self.metadata_file()).unwrap(),
            Kind::Buckets | Kind::Strings => self.server().get(self.metadata_key()).unwrap(),
        };
        serde_json::from_str(&text).unwrap()
    }

    /// Changes the stored metadata of the current generation, starting from what was published.
    pub fn edit_metadata(&self, edit: impl Fn(&mut Value)) {
        let kept = self.home.path().join("published.json");
        if !kept.exists() {
            fs::write(&kept, self.metadata().to_string()).unwrap();
        }
        let mut metadata = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
        edit(&mut metadata);
        match self.kind {
            Kind::File => fs::write(self.metadata_file(), metadata.to_string()).unwrap(),
            Kind::Buckets | Kind::Strings => self.server().set(self.metadata_key(), metadata.to_string()).unwrap(),
        }
    }

    /// Removes all that a server keeps of a generation.
    pub fn remove(&self, generation: u64) {
        let mut server = self.server();
        let names: Vec<String> =
            server.scan_match(format!("{}:*", self.prefix())).unwrap().map(Result::unwrap).collect();
        let mut server = self.server();
        let string = format!("{}:{TABLE}:{generation}:", self.prefix());
        let bucket = format!("}}:{generation}");
        let of_it = |name: &&String| {
            name.starts_with(&string) || name.ends_with(&bucket) || **name == self.metadata_key_of(generation)
        };
        let of_it: Vec<&String> = names.iter().filter(of_it).collect();
        assert!(of_it.len() > 1, "{names:?}");
        server.unlink::<_, ()>(of_it).unwrap();
    }

    /// A connection to the table's server.
    pub fn server(&self) -> redis::Connection {
        let client = redis::Client::open(self.location()).unwrap();
        client.get_connection().unwrap()
    }

    fn current(&self) -> u64 {
        self.store.current(&self.table).unwrap().unwrap()
    }

    fn metadata_key(&self) -> String {
        self.metadata_key_of(self.current())
    }

    fn metadata_key_of(&self, generation: u64) -> String {
        format!("{}:{TABLE}:generation:{generation}", self.prefix())
    }

    fn metadata_file(&self) -> std::path::PathBuf {
        Path::new(&self.folder()).join(format!("v={:06}/generation.json", self.current()))
    }
}

fn provenance() -> Provenance {
    Provenance {
        run_id: "run".into(),
        job: TABLE.into(),
        interval: "2018-06-20".into(),
        interval_end: "2018-06-21T00:00:00Z".into(),
        model: TABLE.into(),
        model_version: 3,
        keep: "latest".into(),
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn note() -> FlipNote {
    FlipNote { at: now(), by: "tester".into(), why: "test".into() }
}
