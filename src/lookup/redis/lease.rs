//! Signs of life: how others tell a load that goes on from what a dead one has left.

use super::books::Books;
use super::client::Client;
use super::server::Server;
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// The attempts of this process that have not ended, and the number of the next one: two may have the same name, in
/// different tables.
static LIVING: LazyLock<Mutex<(u64, HashSet<u64>)>> = LazyLock::new(Mutex::default);

/// An attempt of this process, for as long as it lives.
pub struct Living(u64);

impl Living {
    /// Called before the attempt is in the books.
    pub fn begin() -> Self {
        let (next, living) = &mut *LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        living.insert(*next);
        Self(*next)
    }

    /// The attempt, as no other is called, and the process that it is of; `None` where the system does not tell.
    pub fn name(&self) -> Option<String> {
        Some(format!("{}#{}", this_process()?, self.0))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.0);
    }
}

/// Renews a key that expires, for as long as it lives.
pub struct Lease {
    is_alive: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lease {
    /// Gives signs of life for `attempt`, which has just given the first.
    ///
    /// # Errors
    /// `failed` where the system gives no thread.
    pub fn hold(server: &Arc<Server>, books: &Books, attempt: &str) -> Result<Self> {
        let is_alive = Arc::new(AtomicBool::new(true));
        let (stop, stopped) = channel();
        let (server, books, attempt) = (Arc::clone(server), books.clone(), attempt.to_owned());
        let alive = Arc::clone(&is_alive);
        let lease = server.address.lease;
        let renew = move || {
            let mut client = Client::hasty(&server);
            let mut renewed = Instant::now();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(lease / 5) {
                let begun = Instant::now();
                match books.live(&mut client, &attempt, lease) {
                    Ok(()) => renewed = begun,
                    Err(error) => tracing::debug!(%error, "a sign of life could not be given"),
                }
                // Between the two the key may have expired, and somebody may have looked.
                alive.store(renewed.elapsed() < lease, Ordering::Relaxed);
            }
            if let Err(error) = books.end(&mut client, &attempt) {
                tracing::debug!(%error, "the end of a load could not be told; it will be taken for dead");
            }
        };
        let thread = std::thread::Builder::new().name("lakemill-redis-lease".to_owned()).spawn(renew);
        let thread = thread.map_err(|source| Error::failed("could not start the threads of a load").because(source))?;
        Ok(Self { is_alive, stop: Some(stop), thread: Some(thread) })
    }

    /// False once others may take the load for dead.
    pub fn is_alive(&self) -> &Arc<AtomicBool> {
        &self.is_alive
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// This process as no other is called, on this machine and in this container, until the next boot.
fn this_process() -> Option<String> {
    named(std::process::id())
}

/// Whether an attempt, by its [`Living::name`], has ended, where that is known: of this process, and of another one of
/// this machine and container that has itself ended.
pub fn has_ended(name: &str) -> Option<bool> {
    let (process, number) = name.split_once('#').unwrap_or((name, ""));
    if this_process().as_deref() == Some(process) {
        let living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        return Some(number.parse().is_ok_and(|number| !living.1.contains(&number)));
    }
    let rest = process.strip_prefix(&place()?)?;
    let id: u32 = rest.split('/').nth(1)?.parse().ok()?;
    (named(id).as_deref() != Some(process)).then_some(true)
}

fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.display()))
}

fn named(id: u32) -> Option<String> {
    // The 22nd field is when it began; the second, its name, may hold spaces but ends with the last parenthesis.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?;
    // A zombie has ended; nobody has asked how.
    (state != "Z" && state != "X").then_some(())?;
    Some(format!("{}/{id}/{began}", place()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_is_told_from_one_that_lives() {
        let living = Living::begin();
        let Some(own) = living.name() else { return };
        let other = Living::begin();
        assert_eq!(has_ended(&own), Some(false));
        drop(living);
        assert_eq!(has_ended(&own), Some(true));
        assert_eq!(has_ended(&other.name().unwrap()), Some(false));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = named(child.id()).unwrap() + "#1";
        assert_eq!(has_ended(&other), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(has_ended(&other), Some(true));
        assert_eq!(has_ended("another boot/pid:[1]/1/1#1"), None);
        // The same number given again is another process.
        assert_eq!(has_ended(&(this_process().unwrap() + "0#1")), Some(true));
    }
}
