//! The two pools of a process: tokio waits for I/O, rayon computes. Only this file builds them.
//!
//! They are apart because a thread that computes for seconds must not be one that answers I/O, and
//! because rayon's work stealing wants exactly as many threads as there are cores to use.

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{anonymous_bytes, mib, resident_bytes};
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

pub use crate::memory::peak_resident_bytes as peak_rss_bytes;

/// What of the limit is left to the pages of files, code above all, that the system may take back.
const PAGES_OF_FILES: u64 = 64 << 20;

/// How often the process's memory is looked at. Two threads that do nothing but write to new pages get 100 MiB far in it.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The process's pools; cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    io: Arc<tokio::runtime::Runtime>,
    cpu: Arc<rayon::ThreadPool>,
    /// What the process holds, once that is more than it may.
    over: Option<watch::Receiver<Option<u64>>>,
    limit: u64,
}

impl Runtime {
    /// Pools of `threads` threads each, or one for each core.
    ///
    /// # Errors
    /// A usage error for zero threads; `failed` where the system gives no threads.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let threads = match threads {
            Some(0) => return Err(Error::usage("the number of threads must be at least 1")),
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("lakemill-io")
            // Planning a long query recurses deeply.
            .thread_stack_size(8 << 20)
            .enable_all()
            .build()
            .map_err(|source| Error::failed("could not start the I/O threads").because(source))?;
        let cpu = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("lakemill-cpu-{index}"))
            .build()
            .map_err(|source| Error::failed("could not start the compute threads").because(source))?;
        Ok(Self { io: Arc::new(io), cpu: Arc::new(cpu), over: None, limit: u64::MAX })
    }

    /// Ends a run, as a signal does, when the process holds more than `limit` bytes: sooner or later the system would
    /// kill it without a word. Operators that can spill do so well before.
    #[must_use]
    pub fn limited(self, limit: u64) -> Self {
        let (sender, receiver) = watch::channel(None);
        let most = limit.saturating_sub(PAGES_OF_FILES.min(limit / 4));
        let look = move || {
            while !sender.is_closed() {
                let held = anonymous_bytes().unwrap_or(0);
                if held > most {
                    let _ = sender.send(Some(resident_bytes().unwrap_or(held)));
                    return;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        // Without the thread only the operators mind the limit.
        let _ = std::thread::Builder::new().name("lakemill-memory".to_owned()).spawn(look);
        Self { over: Some(receiver), limit, ..self }
    }

    /// The threads that compute, for work that is begun elsewhere.
    pub fn pool(&self) -> Arc<rayon::ThreadPool> {
        Arc::clone(&self.cpu)
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.cpu.current_num_threads()
    }

    /// Runs `work` to its end, or to the first SIGINT or SIGTERM.
    ///
    /// # Errors
    /// As [`Runtime::until_stopped`].
    pub fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.io.block_on(self.until_stopped(work))
    }

    /// Runs `work` to its end; it minds signals itself, so that it can still write a receipt.
    pub fn run_recorded<T>(&self, work: impl Future<Output = T>) -> T {
        self.io.block_on(work)
    }

    /// Runs `work` to its end; it minds signals itself, by [`stop_signal`], so that what is under way can end well.
    ///
    /// # Errors
    /// What `work` fails with; `budget` where the process holds more memory than it may.
    pub fn run_until_told<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.io.block_on(async {
            tokio::select! {
                done = work => done,
                held = self.too_large() => Err(self.holds_too_much(held)),
            }
        })
    }

    /// `work`, or the first SIGINT or SIGTERM.
    ///
    /// # Errors
    /// What `work` fails with; `interrupted` or `terminated` on a signal. Nothing is half-committed
    /// then: every commit is one atomic operation after everything that it points to is complete.
    pub async fn until_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            held = self.too_large() => Err(self.holds_too_much(held)),
            kind = stop_signal() => Err(Error::new(kind, "stopped by a signal; nothing is half-committed")
                .hint("run the same command again: it goes on from the last committed state")),
        }
    }

    fn holds_too_much(&self, held: u64) -> Error {
        Error::new(ErrorKind::Budget, "the process holds more memory than it may; nothing is half-committed")
            .with("holds", mib(held))
            .with("--memory", mib(self.limit))
            .hint("give more --memory, or ask for fewer rows or columns")
    }

    /// Waits until the process holds too much.
    async fn too_large(&self) -> u64 {
        let held = match self.over.clone() {
            Some(mut over) => over.wait_for(Option::is_some).await.ok().and_then(|held| *held),
            None => None,
        };
        match held {
            Some(held) => held,
            // Nobody looks.
            None => std::future::pending().await,
        }
    }

    /// Runs `work` on the compute pool without holding an I/O thread.
    ///
    /// # Errors
    /// What `work` fails with; `failed` where it panicked.
    pub async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (done, result) = oneshot::channel();
        self.cpu.spawn(move || {
            // The receiver is gone only when the run was stopped.
            let _ = done.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
        });
        match result.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Error::failed("a computation panicked; this is a bug in lakemill")),
        }
    }

    /// Runs blocking file work (LMDB, fsync) on a thread of its own.
    ///
    /// # Errors
    /// What `work` fails with; `failed` where it panicked.
    pub async fn block<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        match self.io.spawn_blocking(work).await {
            Ok(result) => result,
            Err(source) => Err(Error::failed("a file operation panicked; this is a bug in lakemill").because(source)),
        }
    }
}

/// The signal that has come, if one has.
static STOP: LazyLock<watch::Receiver<Option<ErrorKind>>> = LazyLock::new(listen);

/// Listens on a thread of its own: those of the pools may all be computing when the signal comes.
fn listen() -> watch::Receiver<Option<ErrorKind>> {
    let (sender, receiver) = watch::channel(None);
    let wait = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let _ = sender.send(runtime.block_on(signalled()));
    };
    // Without the thread the system's default action stops the process.
    let _ = std::thread::Builder::new().name("lakemill-signal".to_owned()).spawn(wait);
    receiver
}

/// Waits for the first SIGINT (`interrupted`) or SIGTERM (`terminated`).
pub async fn stop_signal() -> ErrorKind {
    let mut stop = STOP.clone();
    let kind = stop.wait_for(Option::is_some).await.ok().and_then(|kind| *kind);
    match kind {
        Some(kind) => kind,
        // Nobody listens.
        None => std::future::pending().await,
    }
}

async fn signalled() -> Option<ErrorKind> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                interrupt = tokio::signal::ctrl_c() => interrupt.ok().map(|()| ErrorKind::Interrupted),
                _ = terminate.recv() => Some(ErrorKind::Terminated),
            };
        }
    }
    tokio::signal::ctrl_c().await.ok().map(|()| ErrorKind::Interrupted)
}
