//! A lookup table that is followed: the generation that is served, the one before it, and how the next is taken up.

use super::generation::Generation;
use super::served::Source;
use super::telemetry::TableTelemetry;
use crate::error::{Error, ErrorKind, Result};
use crate::lookup::{FlipAction, FlipRecord, LookupReader, LookupStore, LookupTable};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// After a generation could not be opened it is tried again after this, then after twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How many numbers below a generation may be without one.
const NUMBERS: u64 = 16;

/// How a lookup table is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Following {
    /// Whether a new generation is read whole and compared with its checksum before it is served.
    pub verify: bool,
    /// Whether the generation before the current one is kept open, to be asked where that is damaged.
    pub keeps_previous: bool,
}

/// The generations that can be asked; what is published later changes nothing about them.
#[derive(Clone, Default)]
pub struct Held {
    /// The one that is served.
    pub active: Option<Arc<Generation>>,
    /// Whether that is the published one. It is not where the published one can't be opened.
    pub is_current: bool,
    /// The one before it.
    pub previous: Option<Arc<Generation>>,
    /// Whether a previous one was looked for.
    sought: bool,
}

impl Held {
    /// The generations to ask for a whole answer, one after the other, and what they are called.
    pub fn in_turn(&self) -> impl Iterator<Item = (&Arc<Generation>, Source)> {
        let served = if self.is_current { Source::Current } else { Source::Previous };
        let active = self.active.iter().map(move |active| (active, served));
        active.chain(self.previous.iter().map(|previous| (previous, Source::Previous)))
    }

    /// The generation before this one, to ask for keys that it lacks.
    pub fn before(&self, generation: &Arc<Generation>) -> Option<&Arc<Generation>> {
        self.previous.as_ref().filter(|previous| !Arc::ptr_eq(previous, generation))
    }
}

/// A lookup table that is followed.
pub struct Followed {
    /// The table.
    pub table: LookupTable,
    /// What is counted of it.
    pub telemetry: TableTelemetry,
    store: &'static dyn LookupStore,
    following: Following,
    held: RwLock<Arc<Held>>,
    trouble: Mutex<Trouble>,
    /// Whether the last look found that the store can't be reached.
    is_away: AtomicBool,
    /// One looks at a time.
    looking: Mutex<()>,
}

/// What has gone wrong lately.
#[derive(Default)]
struct Trouble {
    /// A generation that could not be opened, when it is tried again, and how long after that the next time.
    refused: Option<(u64, Instant, Duration)>,
    /// What was said last; the same is not said again.
    told: Option<String>,
}

impl Followed {
    /// A table of which nothing is open yet.
    pub fn new(
        store: &'static dyn LookupStore,
        table: LookupTable,
        following: Following,
        telemetry: TableTelemetry,
    ) -> Self {
        Self {
            table,
            telemetry,
            store,
            following,
            held: RwLock::default(),
            trouble: Mutex::default(),
            is_away: AtomicBool::new(false),
            looking: Mutex::default(),
        }
    }

    /// What can be asked now. An answer is made of one of these, whatever is published meanwhile.
    pub fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the store could not be reached when it was last looked at.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Whether the store answers when it is asked for the pointer, be it that it says no. Blocks.
    pub fn answers(&self) -> bool {
        !is_transient(&self.store.current(&self.table))
    }

    /// Says in the metrics what is served.
    pub fn tell(&self, now: SystemTime) {
        let held = self.held();
        let active = held.active.as_ref();
        let age_secs = active.and_then(|generation| generation.age_secs(now));
        self.telemetry.serves(active.map(|generation| generation.number()), held.is_current, age_secs);
    }

    /// Looks where the pointer is, and takes up what it names. Blocks. Whatever fails is counted and told once; what
    /// was served before is served on.
    pub fn look(&self) {
        let _turn = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.take_up();
        self.is_away.store(is_transient(&found), Ordering::Relaxed);
        if self.is_away() {
            self.open_copy();
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(()) if trouble.refused.is_none() => {
                if trouble.told.take().is_some() {
                    tracing::info!(table = self.table.name, "the lookup table can be read again");
                }
            }
            Ok(()) => {}
            Err(error) => {
                self.telemetry.reload_failures.inc();
                let text = format!("{error:?}");
                if trouble.told.as_ref() != Some(&text) {
                    tracing::warn!(table = self.table.name, "the lookup table cannot be read: {text}");
                    trouble.told = Some(text);
                }
            }
        }
    }

    fn hold(&self, held: Held) {
        let mut place = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *place, Arc::new(held));
        drop(place);
        // Unmapping a file takes its time: nobody should wait for it.
        drop(before);
    }

    fn take_up(&self) -> Result<()> {
        let pointed = self.store.current(&self.table)?;
        let held = self.held();
        let active = held.active.as_ref().map(|generation| generation.number());
        if pointed == active && (held.is_current || pointed.is_none()) {
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).refused = None;
            return self.seek_previous();
        }
        let Some(pointed) = pointed else {
            // What was published is gone; the last of it is served on.
            self.hold(self.without_current(&held));
            return Ok(());
        };
        if self.must_wait(pointed) {
            return Ok(());
        }
        drop(held);
        match self.open_current() {
            Ok(Some(reader)) => {
                self.advance(Generation::new(reader));
                Ok(())
            }
            // The pointer has gone in this very moment: the next look tells.
            Ok(None) => Ok(()),
            Err(error) => {
                self.refuse(pointed);
                let held = self.held();
                self.hold(self.without_current(&held));
                if self.held().active.is_none() && self.following.keeps_previous {
                    self.stand_in(pointed);
                }
                Err(error)
            }
        }
    }

    /// What is left to serve where the published generation can't be.
    fn without_current(&self, held: &Held) -> Held {
        match self.following.keeps_previous {
            true => Held { is_current: false, ..held.clone() },
            false => Held::default(),
        }
    }

    fn open_current(&self) -> Result<Option<Box<dyn LookupReader>>> {
        let mut opened = self.store.open(&self.table);
        // Another generation of the same number was here before, of a home that was made anew, and is still open.
        let is_other = |opened: &Result<_>| matches!(opened, Err(error) if error.kind() == ErrorKind::Conflict);
        if is_other(&opened) {
            self.hold(Held { previous: None, ..(*self.held()).clone() });
            opened = self.store.open(&self.table);
        }
        if is_other(&opened) {
            self.hold(Held::default());
            opened = self.store.open(&self.table);
        }
        let Some(reader) = opened? else { return Ok(None) };
        self.verified(reader).map(Some)
    }

    fn verified(&self, reader: Box<dyn LookupReader>) -> Result<Box<dyn LookupReader>> {
        if self.following.verify {
            reader.verify().map_err(|error| error.with("generation", reader.metadata().generation))?;
        }
        Ok(reader)
    }

    /// Serves a generation from now on.
    fn advance(&self, generation: Generation) {
        let held = self.held();
        let number = generation.number();
        // After a rollback, or where a flip was missed, the one that was served is not what came before.
        let before = self.published_before(number);
        let came_before =
            |active: &Arc<Generation>| before.map_or(active.number() < number, |before| active.number() == before);
        let previous = held.active.clone().filter(|active| self.following.keeps_previous && came_before(active));
        tracing::info!(table = self.table.name, generation = number, "serving a new generation");
        self.hold(Held { sought: previous.is_some(), active: Some(Arc::new(generation)), is_current: true, previous });
        self.telemetry.reloads.inc();
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).refused = None;
    }

    /// Opens the generation before the one that is served, once.
    fn seek_previous(&self) -> Result<()> {
        let held = self.held();
        let Some(active) = held.active.as_ref().filter(|_| self.following.keeps_previous && !held.sought) else {
            return Ok(());
        };
        let previous = self.newest_below(active.number())?.map(Arc::new);
        self.hold(Held { previous, sought: true, ..(*held).clone() });
        Ok(())
    }

    /// Serves the newest generation below one that can't be opened.
    fn stand_in(&self, pointed: u64) {
        if let Ok(Some(generation)) = self.newest_below(pointed) {
            tracing::warn!(table = self.table.name, generation = generation.number(), "serving an older generation");
            self.hold(Held { active: Some(Arc::new(generation)), ..Held::default() });
            self.telemetry.reloads.inc();
        }
    }

    /// Serves what this machine has of a table in a bucket, where nothing is served yet and the bucket can't be
    /// reached: what was published meanwhile is not known.
    fn open_copy(&self) {
        if self.table.remote.is_none() || !self.following.keeps_previous || self.held().active.is_some() {
            return;
        }
        let copy = LookupTable { remote: None, ..self.table.clone() };
        let opened = self.store.open(&copy).and_then(|reader| reader.map(|reader| self.verified(reader)).transpose());
        if let Ok(Some(reader)) = opened {
            let generation = Generation::new(reader);
            tracing::warn!(
                table = self.table.name,
                generation = generation.number(),
                "serving the copy on this machine"
            );
            self.hold(Held { active: Some(Arc::new(generation)), ..Held::default() });
            self.telemetry.reloads.inc();
        }
    }

    /// The generation that readers saw before `number` was published, if the log of flips tells.
    fn published_before(&self, number: u64) -> Option<u64> {
        let flips = self.store.flips(&self.table).ok()?;
        let published = |flip: &&FlipRecord| flip.generation == number && flip.action == FlipAction::Publish;
        flips.iter().rev().find(published)?.from
    }

    /// The generation before `number` that can be opened: the one that readers saw before, else the newest below.
    fn newest_below(&self, number: u64) -> Result<Option<Generation>> {
        let mut kept = match self.store.generations(&self.table) {
            Ok(kept) => kept.into_iter().map(|metadata| metadata.generation).filter(|kept| *kept < number).collect(),
            // One of them is damaged; which are not is found by trying.
            Err(_) => (number.saturating_sub(NUMBERS)..number).collect::<Vec<_>>(),
        };
        kept.extend(self.published_before(number));
        for kept in kept.into_iter().rev() {
            match self.store.open_generation(&self.table, kept).and_then(|reader| self.verified(reader)) {
                Ok(reader) => return Ok(Some(Generation::new(reader))),
                Err(error) if error.kind() == ErrorKind::Transient => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Whether a generation was refused a short while ago.
    fn must_wait(&self, number: u64) -> bool {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.refused.is_some_and(|(refused, again, _)| refused == number && Instant::now() < again)
    }

    fn refuse(&self, number: u64) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match trouble.refused {
            Some((refused, _, wait)) if refused == number => (wait * 2).min(LAST_RETRY),
            _ => FIRST_RETRY,
        };
        trouble.refused = Some((number, Instant::now() + wait, wait));
    }

    /// Counts and tells that an opened generation could not be read.
    pub fn unreadable(&self, generation: &Generation, error: &Error) {
        if self.telemetry.read_failures.inc() == 0 {
            let number = generation.number();
            tracing::warn!(table = self.table.name, generation = number, "a generation cannot be read: {error:?}");
        }
    }
}

/// Whether another try may succeed.
fn is_transient<T>(result: &Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::Transient)
}
