//! What a table asks of its store.

use serde::{Deserialize, Serialize};

/// Settings of a table; each store minds those that mean something to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupOptions {
    /// How many pairs a second are loaded (sent, or put into a file) or removed at most; no bound where absent.
    pub max_rows_per_sec: Option<u64>,
    /// How long a generation is good after it was published, in seconds; for ever where absent.
    pub ttl_secs: Option<u64>,
    /// How a server keeps pairs.
    pub layout: Layout,
    /// What the names of all keys of a server begin with.
    pub prefix: String,
    /// How many connections to a server are used at once.
    pub connections: u32,
}

/// The prefix where none is said.
pub const DEFAULT_PREFIX: &str = "lakemill";

/// The connections where nothing is said.
pub const DEFAULT_CONNECTIONS: u32 = 4;

impl Default for LookupOptions {
    fn default() -> Self {
        Self {
            max_rows_per_sec: None,
            ttl_secs: None,
            layout: Layout::default(),
            prefix: DEFAULT_PREFIX.to_owned(),
            connections: DEFAULT_CONNECTIONS,
        }
    }
}

/// How a server keeps pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Many keys in one hash: a third of the memory.
    #[default]
    Buckets,
    /// A string for each key: any client reads it with one GET.
    Strings,
}
