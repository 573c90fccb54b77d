//! A generation that is served, and the one place where stores are read.

use super::breaker::Breaker;
use super::followed::{Followed, Held};
use super::settings::Limits;
use super::telemetry::StoreTelemetry;
use crate::error::{Error, ErrorKind, Result};
use crate::interval::parse_instant;
use crate::lookup::LookupReader;
use axum::http::HeaderValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// How many keys are read before others on the same thread get their turn.
const TURN: usize = 256;

/// An opened generation, and what is said with each of its values.
pub struct Generation {
    reader: Box<dyn LookupReader>,
    /// The end of the interval that its values were made for; `None` where that can't be read.
    pub as_of: Option<SystemTime>,
    /// When it is no longer good by its own word; `None` where it always is.
    expires_at: Option<SystemTime>,
    /// Its number, as a header.
    pub number_header: HeaderValue,
    /// The same instant as its metadata say it, as a header.
    pub as_of_header: HeaderValue,
}

impl Generation {
    /// What is said of an opened generation.
    pub fn new(reader: Box<dyn LookupReader>) -> Self {
        let metadata = reader.metadata();
        let as_of = &metadata.provenance.interval_end;
        Self {
            as_of: parse_instant(as_of).ok().map(SystemTime::from),
            expires_at: metadata.expires_at().map(SystemTime::from),
            number_header: HeaderValue::from(metadata.generation),
            as_of_header: HeaderValue::from_str(as_of).unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            reader,
        }
    }

    /// The opened generation itself.
    pub fn reader(&self) -> &dyn LookupReader {
        &*self.reader
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.reader.metadata().generation
    }

    /// How many columns its keys have.
    pub fn key_columns(&self) -> usize {
        self.reader.metadata().key.len()
    }

    /// Whether it is no longer good by its own word.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }

    /// The time since the end of its interval, in seconds; negative where that is yet to come.
    pub fn age_secs(&self, now: SystemTime) -> Option<f64> {
        self.as_of.map(|as_of| match now.duration_since(as_of) {
            Ok(age) => age.as_secs_f64(),
            Err(ahead) => -ahead.duration().as_secs_f64(),
        })
    }
}

/// Where reads are made.
#[derive(Clone)]
pub enum Reads {
    /// On the thread that answers: a read takes microseconds.
    InPlace,
    /// On a thread of its own: a read waits for a network.
    Apart {
        /// So many at once.
        permits: Arc<Semaphore>,
        /// The longest that a read may take once it has begun.
        longest: Duration,
        /// Whether the store is asked at all.
        breaker: Arc<Breaker>,
        /// One request at a time looks at the pointer by itself.
        renewing: Arc<Mutex<()>>,
    },
}

impl Reads {
    /// How a store of this name is read, within these limits where that is over the network.
    pub fn of(store: &str, limits: &Limits, telemetry: &StoreTelemetry) -> Self {
        match store {
            "file" => Self::InPlace,
            _ => Self::Apart {
                permits: Arc::new(Semaphore::new(limits.reads)),
                longest: limits.read_timeout.get().min(limits.request_timeout.get()),
                breaker: Arc::new(Breaker::new(telemetry.clone())),
                renewing: Arc::default(),
            },
        }
    }

    /// What stands between requests and a store over a network.
    pub fn breaker(&self) -> Option<&Arc<Breaker>> {
        match self {
            Self::InPlace => None,
            Self::Apart { breaker, .. } => Some(breaker),
        }
    }

    /// Whether a request may ask the store.
    pub fn admits(&self) -> bool {
        self.breaker().is_none_or(|breaker| breaker.admits())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn get(&self, generation: &Arc<Generation>, key: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::InPlace => generation.reader.get(key.as_bytes()),
            Self::Apart { .. } => {
                let key = key.to_owned();
                self.apart(generation, move |reader| reader.get(key.as_bytes())).await
            }
        }
    }

    /// The values of keys, in their order.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn mget(&self, generation: &Arc<Generation>, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>> {
        match self {
            Self::InPlace => {
                let mut values = Vec::with_capacity(keys.len());
                for turn in keys.chunks(TURN) {
                    values.extend(generation.reader.mget(&as_bytes(turn))?);
                    if turn.len() == TURN {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(values)
            }
            Self::Apart { .. } => {
                let keys: Vec<String> = keys.iter().copied().map(str::to_owned).collect();
                self.apart(generation, move |reader| reader.mget(&as_bytes(&keys))).await
            }
        }
    }

    /// What is held after what was held can't be read any more: in a server a generation is removed under its
    /// readers, where the pointer flips faster than it is looked at. `None` where the same is held. A file that is
    /// removed can still be read.
    pub async fn renewed(&self, followed: &Arc<Followed>, held: &Arc<Held>) -> Option<Arc<Held>> {
        let Self::Apart { renewing, .. } = self else { return None };
        let _turn = renewing.lock().await;
        let is_other = |now: &Arc<Held>| match (&now.active, &held.active) {
            (Some(now), Some(held)) => !Arc::ptr_eq(now, held),
            (now, held) => now.is_some() != held.is_some(),
        };
        if !is_other(&followed.held()) {
            let followed = followed.clone();
            // A panic has been told by then.
            let _ = tokio::task::spawn_blocking(move || followed.look()).await;
        }
        Some(followed.held()).filter(is_other)
    }

    /// Reads on a thread that may wait, unless the store does not answer.
    async fn apart<T: Send + 'static>(
        &self,
        generation: &Arc<Generation>,
        read: impl FnOnce(&dyn LookupReader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Self::Apart { permits, longest, breaker, .. } = self else { return read(generation.reader()) };
        let permit = match permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::select! {
                permit = permits.clone().acquire_owned() => {
                    permit.map_err(|source| Error::failed("the server no longer reads").because(source))?
                }
                () = breaker.opened() => return Err(Breaker::refusal()),
            },
        };
        let generation = generation.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the read has ended, also where nobody waits for it any more.
            let _permit = permit;
            read(generation.reader())
        });
        let read = match timeout(*longest, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(source)) => {
                return Err(Error::failed("a read panicked; this is a bug in lakemill").because(source));
            }
            Err(_) => Err(Error::new(ErrorKind::Transient, "the store did not answer in time")),
        };
        breaker.note(&read);
        read
    }
}

fn as_bytes<K: AsRef<str>>(keys: &[K]) -> Vec<&[u8]> {
    keys.iter().map(|key| key.as_ref().as_bytes()).collect()
}

/// Borrowed keys of a batch.
pub fn borrowed<'a>(keys: &'a [Cow<'a, str>]) -> Vec<&'a str> {
    keys.iter().map(Cow::as_ref).collect()
}
