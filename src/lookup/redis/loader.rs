//! Sending pairs over several connections at once, with a bound on what is under way.

use super::client::Client;
use super::room::Room;
use super::server::Server;
use super::write::{Job, Tally, Writing};
use crate::error::{Error, ErrorKind, Result};
use crate::lookup::{Layout, Pace, partition_of};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How many bytes of pairs are sent before their replies are waited for. Each connection has one such job under way and
/// one more waits for it: that is the bound.
const JOB_BYTES: usize = 128 * 1024;

/// How many buckets a job has at most, be they ever so small.
const JOB_BUCKETS: usize = 512;

/// A bucket longer than this is sent in parts where nothing has to be compared.
const PART_BYTES: usize = 1 << 20;

/// A generation on its way to the server.
pub struct Loader {
    writing: Arc<Writing>,
    jobs: Option<SyncSender<Job>>,
    workers: Vec<JoinHandle<Result<Tally>>>,
    has_failed: Arc<AtomicBool>,
    job: Job,
    /// The bucket that pairs are put into.
    bucket: Option<u32>,
    pace: Pace,
}

/// What each connection works with.
struct Worker {
    server: Arc<Server>,
    writing: Arc<Writing>,
    room: Arc<Room>,
    is_alive: Arc<AtomicBool>,
    jobs: Arc<Mutex<Receiver<Job>>>,
    has_failed: Arc<AtomicBool>,
}

impl Loader {
    /// Begins to load over `connections` connections; `is_alive` turns false once others may take the load for dead.
    ///
    /// # Errors
    /// `failed` where the system gives no threads.
    pub fn begin(
        server: &Arc<Server>,
        writing: Writing,
        room: &Arc<Room>,
        is_alive: &Arc<AtomicBool>,
        connections: u32,
        pace: Pace,
    ) -> Result<Self> {
        let connections = connections.clamp(1, 64) as usize;
        let (jobs, waiting) = sync_channel(connections);
        let (waiting, writing) = (Arc::new(Mutex::new(waiting)), Arc::new(writing));
        let has_failed = Arc::new(AtomicBool::new(false));
        let start = |index| {
            let worker = Worker {
                server: Arc::clone(server),
                writing: Arc::clone(&writing),
                room: Arc::clone(room),
                is_alive: Arc::clone(is_alive),
                jobs: Arc::clone(&waiting),
                has_failed: Arc::clone(&has_failed),
            };
            let thread = std::thread::Builder::new().name(format!("lakemill-redis-{index}"));
            thread
                .spawn(move || worker.work())
                .map_err(|source| Error::failed("could not start the threads of a load").because(source))
        };
        let workers = (0..connections).map(start).collect::<Result<_>>()?;
        Ok(Self { writing, jobs: Some(jobs), workers, has_failed, job: Job::default(), bucket: None, pace })
    }

    /// Takes a pair; they come by bucket.
    ///
    /// # Errors
    /// What the server has failed with since the last one.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let bucket = partition_of(key, self.writing.to.partitions);
        if self.bucket != Some(bucket) {
            if self.bucket.is_some_and(|before| before > bucket) {
                return Err(Error::failed("the pairs of a lookup table do not come by partition"));
            }
            self.enter(bucket)?;
        } else if self.job.pairs.bytes() >= PART_BYTES && self.may_part() {
            self.leave();
            self.send()?;
        }
        self.job.pairs.push(key, value);
        Ok(())
    }

    /// Whether a bucket may be sent in parts.
    fn may_part(&self) -> bool {
        self.writing.from.is_none() && self.writing.to.layout == Layout::Buckets
    }

    fn enter(&mut self, bucket: u32) -> Result<()> {
        let next = self.bucket.map_or(0, |before| before + 1);
        self.leave();
        self.pass(next..bucket)?;
        self.bucket = Some(bucket);
        let is_enough = self.job.pairs.bytes() >= JOB_BYTES || self.job.buckets.len() >= JOB_BUCKETS;
        if is_enough || self.job.pairs.len() as u64 >= self.pace.step() {
            self.send()?;
        }
        Ok(())
    }

    /// Ends the bucket that pairs were put into.
    fn leave(&mut self) {
        if let Some(bucket) = self.bucket {
            self.job.buckets.push((bucket, self.job.pairs.len()));
        }
    }

    /// Buckets that nothing is put into keep what the base has in them.
    fn pass(&mut self, buckets: std::ops::Range<u32>) -> Result<()> {
        if self.writing.from.as_ref().is_none_or(|from| !from.is_merge) {
            return Ok(());
        }
        for bucket in buckets {
            self.job.buckets.push((bucket, self.job.pairs.len()));
            if self.job.buckets.len() >= JOB_BUCKETS {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let job = std::mem::take(&mut self.job);
        self.pace.pass(job.pairs.len() as u64);
        let is_sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if is_sent && !self.has_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Why is told by the worker that has failed.
        self.end().and_then(|_| Err(Error::failed("a generation takes no rows after it was closed")))
    }

    /// Sends what is left and waits until all of it has arrived.
    ///
    /// # Errors
    /// What the server has failed with.
    pub fn close(&mut self) -> Result<Tally> {
        let next = self.bucket.map_or(0, |before| before + 1);
        self.leave();
        self.bucket = None;
        self.pass(next..self.writing.to.partitions)?;
        if !self.job.buckets.is_empty() {
            self.send()?;
        }
        self.end()
    }

    /// Waits for the workers.
    fn end(&mut self) -> Result<Tally> {
        drop(self.jobs.take());
        let mut tally = Tally::default();
        let mut failure = None;
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(Ok(part)) => tally.add(&part),
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(_) => failure = Some(Error::failed("a load panicked; this is a bug in lakemill")),
            }
        }
        failure.map_or(Ok(tally), Err)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.has_failed.store(true, Ordering::Relaxed);
        let _ = self.end();
    }
}

impl Worker {
    fn work(self) -> Result<Tally> {
        let done = self.all();
        if done.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        done
    }

    fn all(&self) -> Result<Tally> {
        let mut client = Client::of(&self.server);
        let mut tally = Tally::default();
        loop {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return Ok(tally) };
            // The others have to empty the queue, or whoever fills it would wait for ever.
            if self.has_failed.load(Ordering::Relaxed) {
                continue;
            }
            if !self.is_alive.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Transient, "this load gave no sign of life for too long")
                    .with("server", &self.server.address)
                    .hint("another run may have removed what it had written; run again"));
            }
            if self.room.wait(&mut client, job.pairs.bytes() as u64)? {
                tally.add(&self.writing.write(&mut client, &job)?);
            }
        }
    }
}
