//! What is served under a name, and what is answered where a key or a generation is missing.

use super::followed::{Followed, Held};
use super::generation::{Generation, Reads};
use super::problem::{Kind, Problem};
use super::split::Split;
use crate::error::{Error, ErrorKind};
use axum::body::Bytes;
use axum::http::HeaderValue;
use prometheus_client::metrics::counter::Counter;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

/// A name that can be asked for.
pub struct Served {
    /// The name.
    pub name: String,
    /// What is answered where there is no value.
    pub policy: Policy,
    /// How keys are divided among the arms; `None` where there is one arm, the table of that name.
    pub split: Option<Split>,
    /// The lookup tables behind the name, at least one.
    pub arms: Vec<Arm>,
}

/// A lookup table behind a name.
pub struct Arm {
    /// The arm's name in the configuration.
    pub name: String,
    /// The same as a header.
    pub header: HeaderValue,
    /// The lookup table's name as a header.
    pub table_header: HeaderValue,
    /// The lookup table.
    pub followed: Arc<Followed>,
    /// How its store is read.
    pub reads: Reads,
    /// Keys that were asked of it.
    pub asked: Counter,
}

/// What is answered where there is no value, and when a value is stale.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// From which age on.
    pub stale_after: Option<Duration>,
    /// The value of keys that have none, as JSON.
    pub fallback: Option<Bytes>,
    /// Whether the previous generation is asked for keys that the current one lacks.
    pub previous_when_missing: bool,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The published generation.
    Current,
    /// The one before it.
    Previous,
    /// The configuration.
    Fallback,
    /// There is no value.
    Missing,
}

impl Source {
    /// The word in headers and bodies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Fallback => "fallback",
            Self::Missing => "none",
        }
    }
}

/// What there is under one key.
pub struct Answer {
    /// The value, where there is one.
    pub value: Option<Bytes>,
    /// Where it comes from.
    pub source: Source,
    /// The generation that has the value or lacks the key; `None` where none can be read.
    pub generation: Option<Arc<Generation>>,
    /// Whether the value is older than it should be.
    pub is_stale: bool,
}

/// What there is under several keys. All of it but what an item says of itself belongs to one generation.
pub struct Answers {
    /// That generation; `None` where none can be read.
    pub generation: Option<Arc<Generation>>,
    /// Whether that is the published one, the one before, or none.
    pub source: Source,
    /// Whether its values are older than they should be.
    pub is_stale: bool,
    /// One for each key, in order.
    pub items: Vec<Item>,
}

/// What an arm has said, and for which of the keys that were asked for.
pub struct Part {
    /// The arm, counted from 0.
    pub arm: usize,
    /// The places of its keys among all keys.
    pub places: Vec<usize>,
    /// An item for each of these.
    pub answers: Answers,
}

/// What there is under one key of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The value, where there is one.
    pub value: Option<Bytes>,
    /// Where it comes from.
    pub source: Source,
    /// The generation that it comes from, where that is another one than that of the rest.
    pub generation: Option<u64>,
}

impl Served {
    /// The arm that a key belongs to.
    pub fn arm_of(&self, key: &str) -> usize {
        self.split.as_ref().map_or(0, |split| split.arm_of(key.as_bytes()))
    }
}

/// Why no generation gave an answer.
enum Unread {
    /// Nothing is open, or what is open is damaged or was removed.
    Gone,
    /// The store can't be reached; that may pass.
    Away,
    /// There was no answer in time.
    Late,
}

impl Arm {
    /// The value of a key, or what stands in for it, by the time `until`.
    ///
    /// # Errors
    /// A problem where no generation can be read and there is no fallback.
    pub async fn get(&self, policy: &Policy, key: &str, until: Instant) -> Result<Answer, Problem> {
        let asked = async {
            let held = self.admitted()?;
            match self.ask(policy, &held, key).await {
                Err(Unread::Gone) => match self.reads.renewed(&self.followed, &held).await {
                    Some(renewed) => self.ask(policy, &renewed, key).await,
                    None => Err(Unread::Gone),
                },
                answer => answer,
            }
        };
        match self.in_time(until, asked).await {
            Ok(answer) => Ok(answer),
            Err(unread) if policy.fallback.is_none() => Err(self.nothing(&unread)),
            Err(_) => Ok(self.miss(policy, None)),
        }
    }

    /// What is held, if it may be asked: a store that does not answer is not waited for.
    fn admitted(&self) -> Result<Arc<Held>, Unread> {
        let held = self.followed.held();
        let is_hopeless = held.active.is_none() && self.followed.is_away();
        if is_hopeless || !self.reads.admits() { Err(Unread::Away) } else { Ok(held) }
    }

    async fn in_time<T>(&self, until: Instant, asked: impl Future<Output = Result<T, Unread>>) -> Result<T, Unread> {
        timeout_at(until, asked).await.unwrap_or_else(|_| {
            if let Some(breaker) = self.reads.breaker() {
                breaker.failed();
            }
            Err(Unread::Late)
        })
    }

    async fn ask(&self, policy: &Policy, held: &Held, key: &str) -> Result<Answer, Unread> {
        for (generation, source) in held.in_turn() {
            match self.reads.get(generation, key).await {
                Ok(Some(value)) => return Ok(self.hit(policy, value, source, generation)),
                Ok(None) => {
                    let Some(before) = held.before(generation).filter(|_| policy.previous_when_missing) else {
                        return Ok(self.miss(policy, Some(generation)));
                    };
                    return Ok(match self.reads.get(before, key).await {
                        Ok(Some(value)) => self.hit(policy, value, Source::Previous, before),
                        Ok(None) => self.miss(policy, Some(generation)),
                        Err(error) => {
                            self.followed.unreadable(before, &error);
                            self.miss(policy, Some(generation))
                        }
                    });
                }
                Err(error) => self.unread(generation, &error)?,
            }
        }
        Err(Unread::Gone)
    }

    /// The values of keys, or what stands in for them, by the time `until`; all of one generation but where an item
    /// says otherwise.
    ///
    /// # Errors
    /// As [`Arm::get`].
    pub async fn mget(&self, policy: &Policy, keys: &[&str], until: Instant) -> Result<Answers, Problem> {
        let asked = async {
            let held = self.admitted()?;
            match self.ask_all(policy, &held, keys).await {
                Err(Unread::Gone) => match self.reads.renewed(&self.followed, &held).await {
                    Some(renewed) => self.ask_all(policy, &renewed, keys).await,
                    None => Err(Unread::Gone),
                },
                answers => answers,
            }
        };
        match self.in_time(until, asked).await {
            Ok(answers) => return Ok(answers),
            Err(unread) if policy.fallback.is_none() => return Err(self.nothing(&unread)),
            Err(_) => {}
        }
        let missing = Item { value: None, source: Source::Missing, generation: None };
        let mut items = vec![missing; keys.len()];
        self.count(policy, &mut items, false);
        Ok(Answers { generation: None, source: Source::Fallback, is_stale: false, items })
    }

    async fn ask_all(&self, policy: &Policy, held: &Held, keys: &[&str]) -> Result<Answers, Unread> {
        for (generation, source) in held.in_turn() {
            let values = match self.reads.mget(generation, keys).await {
                Ok(values) => values,
                Err(error) => {
                    self.unread(generation, &error)?;
                    continue;
                }
            };
            let item = |value: Option<Vec<u8>>| match value {
                Some(value) => Item { value: Some(value.into()), source, generation: None },
                None => Item { value: None, source: Source::Missing, generation: None },
            };
            let mut items: Vec<Item> = values.into_iter().map(item).collect();
            if let Some(before) = held.before(generation).filter(|_| policy.previous_when_missing) {
                self.fill(before, keys, &mut items).await;
            }
            let is_stale = policy.is_stale(generation);
            self.count(policy, &mut items, is_stale);
            return Ok(Answers { generation: Some(generation.clone()), source, is_stale, items });
        }
        Err(Unread::Gone)
    }

    /// Counts that a generation could not be read. Where its store is away, the other generations are as well.
    fn unread(&self, generation: &Generation, error: &Error) -> Result<(), Unread> {
        self.followed.unreadable(generation, error);
        if error.kind() == ErrorKind::Transient { Err(Unread::Away) } else { Ok(()) }
    }

    /// Asks the previous generation for the keys that have no value.
    async fn fill(&self, before: &Arc<Generation>, keys: &[&str], items: &mut [Item]) {
        let missing: Vec<usize> = (0..items.len()).filter(|&index| items[index].value.is_none()).collect();
        if missing.is_empty() {
            return;
        }
        let asked: Vec<&str> = missing.iter().map(|&index| keys[index]).collect();
        match self.reads.mget(before, &asked).await {
            Ok(values) => {
                for (index, value) in missing.into_iter().zip(values) {
                    if let Some(value) = value {
                        let generation = Some(before.number());
                        items[index] = Item { value: Some(value.into()), source: Source::Previous, generation };
                    }
                }
            }
            Err(error) => self.followed.unreadable(before, &error),
        }
    }

    /// Counts the items, and gives the fallback to those without a value.
    fn count(&self, policy: &Policy, items: &mut [Item], is_stale: bool) {
        let (mut hits, mut previous) = (0, 0);
        for item in items.iter_mut() {
            match item.source {
                Source::Current => hits += 1,
                Source::Previous => previous += 1,
                Source::Fallback | Source::Missing => {
                    if let Some(fallback) = &policy.fallback {
                        *item = Item { value: Some(fallback.clone()), source: Source::Fallback, generation: None };
                    }
                }
            }
        }
        let telemetry = &self.followed.telemetry;
        let found = hits + previous;
        let missed = items.len() as u64 - found;
        self.asked.inc_by(items.len() as u64);
        telemetry.hits.inc_by(found);
        telemetry.previous.inc_by(previous);
        telemetry.misses.inc_by(missed);
        if policy.fallback.is_some() {
            telemetry.fallback.inc_by(missed);
        }
        if is_stale {
            telemetry.stale.inc_by(found);
        }
    }

    fn hit(&self, policy: &Policy, value: Vec<u8>, source: Source, generation: &Arc<Generation>) -> Answer {
        let telemetry = &self.followed.telemetry;
        let is_stale = policy.is_stale(generation);
        self.asked.inc();
        telemetry.hits.inc();
        if source == Source::Previous {
            telemetry.previous.inc();
        }
        if is_stale {
            telemetry.stale.inc();
        }
        Answer { value: Some(value.into()), source, generation: Some(generation.clone()), is_stale }
    }

    fn miss(&self, policy: &Policy, generation: Option<&Arc<Generation>>) -> Answer {
        self.asked.inc();
        self.followed.telemetry.misses.inc();
        let (value, source) = match &policy.fallback {
            Some(fallback) => {
                self.followed.telemetry.fallback.inc();
                (Some(fallback.clone()), Source::Fallback)
            }
            None => (None, Source::Missing),
        };
        Answer { value, source, generation: generation.cloned(), is_stale: false }
    }

    fn nothing(&self, unread: &Unread) -> Problem {
        let table = &self.followed.table.name;
        let (kind, detail) = match unread {
            Unread::Late => {
                (Kind::StoreTooSlow, format!("the store of the lookup table {table} did not answer in time"))
            }
            Unread::Away => (Kind::StoreUnavailable, format!("the store of the lookup table {table} does not answer")),
            Unread::Gone if self.followed.held().active.is_some() => {
                (Kind::NoGeneration, format!("of the lookup table {table} what is published can't be read"))
            }
            Unread::Gone => {
                (Kind::NoGeneration, format!("of the lookup table {table} nothing is published, or it can't be read"))
            }
        };
        Problem::new(kind, detail)
    }
}

impl Policy {
    /// Whether what a generation holds is older than it should be, by this policy or by its own word.
    pub fn is_stale(&self, generation: &Generation) -> bool {
        let now = SystemTime::now();
        // What can't be judged is not called fresh.
        let is_old = |after: Duration| generation.age_secs(now).is_none_or(|age| age > after.as_secs_f64());
        generation.is_expired(now) || self.stale_after.is_some_and(is_old)
    }
}
