//! The loaders' books: numbers given, attempts under way, generations sealed, garbage, flips. All of them lie in the
//! slot of the pointer, so that each change is one script, done whole or not at all, in a cluster too. Every script may
//! be sent twice.

use super::client::{Batch, Client, bytes, int, texts, unexpected};
use super::layout::Names;
use super::wire::Reply;
use crate::error::{Error, Result};
use crate::lookup::{FlipRecord, KEPT_FLIPS, Layout};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the books say about a generation, sealed or not: enough to find all of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The attempt that loads or has loaded it.
    pub attempt: String,
    /// How many buckets it has.
    pub partitions: u32,
    /// How its pairs are kept.
    pub layout: Layout,
    /// The process that loads it, and which of its attempts it is, where the system tells processes apart.
    pub process: Option<String>,
}

/// How a change of the pointer ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Moved {
    /// It was moved; these generations have become garbage.
    Done(Vec<u64>),
    /// This one is current, which was not expected.
    Other(Option<u64>),
    /// The generation is not there to be pointed to.
    Gone,
}

const BEGIN: &str = "
local number = redis.call('INCR', KEYS[1])
local current = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
if number <= current then
  number = current + 1
  redis.call('SET', KEYS[1], string.format('%.0f', number))
end
redis.call('HSET', KEYS[3], string.format('%.0f', number), ARGV[1])
redis.call('SET', KEYS[4], '1', 'PX', ARGV[2])
return number";

/// An attempt that is dead, or gives up, becomes garbage.
const DISCARD: &str = "
if ARGV[2] == 'if dead' and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], entry)
redis.call('HDEL', KEYS[1], ARGV[1])
return 1";

/// Makes garbage of the sealed generations after `before`, which were rolled back from, and of those up to the current one
/// beyond the newest `keep`.
const RETIRE: &str = "
local function retire(current, before, sealed, garbage, keep)
  local numbers, retired, kept = redis.call('HKEYS', sealed), {}, 0
  table.sort(numbers, function(a, b) return tonumber(a) > tonumber(b) end)
  for _, number in ipairs(numbers) do
    local is_old = tonumber(number) > before and number ~= current
    if tonumber(number) <= tonumber(current) and not is_old then
      kept = kept + 1
      is_old = kept > keep and number ~= current
    end
    if is_old then
      redis.call('HSET', garbage, number, redis.call('HGET', sealed, number))
      redis.call('HDEL', sealed, number)
      table.insert(retired, number)
    end
  end
  return retired
end";

const FLIP: &str = "
if redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then return {'done'} end
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then return {'other', current} end
local entry = redis.call('HGET', KEYS[2], ARGV[2])
if not entry then return {'gone'} end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[2], entry)
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('RPUSH', KEYS[5], ARGV[4])
redis.call('LTRIM', KEYS[5], -tonumber(ARGV[5]), -1)
local result = retire(ARGV[2], tonumber(current) or 0, KEYS[3], KEYS[4], tonumber(ARGV[3]))
table.insert(result, 1, 'done')
return result";

const ROLLBACK: &str = "
local current = redis.call('GET', KEYS[1]) or ''
if redis.call('GET', KEYS[4]) == ARGV[5] then return {'done'} end
if current ~= ARGV[1] then return {'other', current} end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return {'gone'} end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[4], ARGV[5])
redis.call('RPUSH', KEYS[3], ARGV[3])
redis.call('LTRIM', KEYS[3], -tonumber(ARGV[4]), -1)
return {'done'}";

const COLLECT: &str = "
local current = redis.call('GET', KEYS[1])
if not current then return {'done'} end
local result = retire(current, math.huge, KEYS[2], KEYS[3], tonumber(ARGV[1]))
table.insert(result, 1, 'done')
return result";

/// The books of one table.
#[derive(Debug, Clone)]
pub struct Books {
    names: Names,
}

impl Books {
    /// Those of a table.
    pub fn of(names: &Names) -> Self {
        Self { names: names.clone() }
    }

    /// The key that lives as long as an attempt does.
    fn alive(&self, attempt: &str) -> String {
        self.names.books(&format!("alive:{attempt}"))
    }

    fn attempts(&self) -> String {
        self.names.books("attempts")
    }

    fn sealed_key(&self) -> String {
        self.names.books("sealed")
    }

    fn garbage_key(&self) -> String {
        self.names.books("garbage")
    }

    /// The number of the current generation.
    ///
    /// # Errors
    /// What the server fails with; a verification error where the pointer is no number.
    pub fn current(&self, client: &mut Client) -> Result<Option<u64>> {
        let key = self.names.current();
        let Some(number) = bytes(client.call("GET", &key, &[])?)? else { return Ok(None) };
        let number = String::from_utf8_lossy(&number);
        let parsed = number.parse().ok().filter(|parsed: &u64| parsed.to_string() == number);
        parsed.map(Some).ok_or_else(|| {
            Error::verification("the pointer to the current generation is damaged")
                .with("key", key)
                .with("content", number.escape_debug())
                .hint("set it to the number of a generation that `lakemill lookup status` lists")
        })
    }

    /// Gives an attempt a number that no other has.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn begin(&self, client: &mut Client, entry: &Entry, lease: Duration) -> Result<u64> {
        let keys = [self.names.books("next"), self.names.current(), self.attempts(), self.alive(&entry.attempt)];
        let lease = lease.as_millis().to_string();
        let reply = run(client, BEGIN, &keys, &[&json(entry)?, lease.as_bytes()])?;
        u64::try_from(int(&reply)?).map_err(|_| unexpected(&reply))
    }

    /// Says that an attempt is alive, for as long as `lease`.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn live(&self, client: &mut Client, attempt: &str, lease: Duration) -> Result<()> {
        let lease = lease.as_millis().to_string();
        client.call("SET", &self.alive(attempt), &[b"1", b"PX", lease.as_bytes()]).map(drop)
    }

    /// Makes garbage of an attempt: of any, or only `if_dead`. Whether it was there.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn discard(&self, client: &mut Client, generation: u64, attempt: &str, if_dead: bool) -> Result<bool> {
        let keys = [self.attempts(), self.garbage_key(), self.alive(attempt)];
        let when = if if_dead { "if dead" } else { "now" };
        let reply = run(client, DISCARD, &keys, &[generation.to_string().as_bytes(), when.as_bytes()])?;
        Ok(int(&reply)? == 1)
    }

    /// An attempt has ended.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn end(&self, client: &mut Client, attempt: &str) -> Result<()> {
        client.call("DEL", &self.alive(attempt), &[]).map(drop)
    }

    /// Moves the pointer to a generation of an attempt.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn flip(
        &self,
        client: &mut Client,
        generation: u64,
        expected: Option<u64>,
        keep: usize,
        record: &FlipRecord,
    ) -> Result<Moved> {
        let flips = self.names.books("flips");
        let keys = [self.names.current(), self.attempts(), self.sealed_key(), self.garbage_key(), flips];
        let expected = expected.map_or_else(String::new, |number| number.to_string());
        let (generation, keep) = (generation.to_string(), keep.max(1).to_string());
        let (record, most) = (json(record)?, KEPT_FLIPS.to_string());
        let arguments = [expected.as_bytes(), generation.as_bytes(), keep.as_bytes(), &record, most.as_bytes()];
        moved(run(client, &[RETIRE, FLIP].concat(), &keys, &arguments)?)
    }

    /// Moves the pointer to a sealed generation.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn rollback(&self, client: &mut Client, to: u64, expected: u64, record: &FlipRecord) -> Result<Moved> {
        let (flips, last) = (self.names.books("flips"), self.names.books("rollback"));
        let keys = [self.names.current(), self.sealed_key(), flips, last];
        let (to, expected, most) = (to.to_string(), expected.to_string(), KEPT_FLIPS.to_string());
        // The same order sent twice, because its answer was lost, is told from a second order.
        let (now, thread) = (std::time::SystemTime::now(), std::thread::current().id());
        let order = format!("{now:?} {} {thread:?}", std::process::id());
        let arguments = [expected.as_bytes(), to.as_bytes(), &json(record)?, most.as_bytes(), order.as_bytes()];
        moved(run(client, ROLLBACK, &keys, &arguments)?)
    }

    /// Makes garbage of old generations.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn retire(&self, client: &mut Client, keep: usize) -> Result<()> {
        let keys = [self.names.current(), self.sealed_key(), self.garbage_key()];
        run(client, &[RETIRE, COLLECT].concat(), &keys, &[keep.max(1).to_string().as_bytes()]).map(drop)
    }

    /// The history of the pointer, oldest first.
    ///
    /// # Errors
    /// What the server fails with; a verification error where an entry is damaged.
    pub fn flips(&self, client: &mut Client) -> Result<Vec<FlipRecord>> {
        let key = self.names.books("flips");
        let entries = texts(client.call("LRANGE", &key, &[b"0", b"-1"])?)?;
        let read = |index| {
            serde_json::from_slice(entries.get(index)).map_err(|source| {
                Error::verification("the history of a lookup table is damaged").with("key", &key).because(source)
            })
        };
        (0..entries.len()).map(read).collect()
    }

    /// The attempts under way, or dead, by their numbers.
    ///
    /// # Errors
    /// What the server fails with; a verification error where an entry is damaged.
    pub fn under_way(&self, client: &mut Client) -> Result<Vec<(u64, Entry)>> {
        entries(client, &self.attempts())
    }

    /// The sealed generations, by their numbers.
    ///
    /// # Errors
    /// As [`Books::under_way`].
    pub fn sealed(&self, client: &mut Client) -> Result<Vec<(u64, Entry)>> {
        entries(client, &self.sealed_key())
    }

    /// What is to be removed, by number.
    ///
    /// # Errors
    /// As [`Books::under_way`].
    pub fn garbage(&self, client: &mut Client) -> Result<Vec<(u64, Entry)>> {
        entries(client, &self.garbage_key())
    }

    /// Garbage has been removed.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn removed(&self, client: &mut Client, generation: u64) -> Result<()> {
        client.call("HDEL", &self.garbage_key(), &[generation.to_string().as_bytes()]).map(drop)
    }
}

fn run(client: &mut Client, script: &str, keys: &[String], arguments: &[&[u8]]) -> Result<Reply> {
    let mut batch = Batch::default();
    batch.script(script, keys, arguments);
    Ok(client.run(&batch)?.pop().unwrap_or(Reply::Nil))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::failed("an entry cannot be written as JSON").because(source))
}

fn moved(reply: Reply) -> Result<Moved> {
    let words = texts(reply)?;
    let number = |index| std::str::from_utf8(words.get(index)).ok().and_then(|text| text.parse().ok());
    Ok(match words.get(0) {
        b"done" => {
            let mut retired: Vec<u64> = (1..words.len()).filter_map(number).collect();
            retired.sort_unstable();
            Moved::Done(retired)
        }
        b"other" => Moved::Other(number(1)),
        _ => Moved::Gone,
    })
}

fn entries(client: &mut Client, key: &str) -> Result<Vec<(u64, Entry)>> {
    let found = texts(client.call("HGETALL", key, &[])?)?;
    let damaged = || Error::verification("the books of a lookup table are damaged").with("key", key);
    let entry = |(number, entry): (&[u8], &[u8])| {
        let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
        let entry = serde_json::from_slice(entry).map_err(|source| damaged().because(source))?;
        Ok((number, entry))
    };
    let mut entries: Vec<(u64, Entry)> = found.pairs().map(entry).collect::<Result<_>>()?;
    entries.sort_unstable_by_key(|(number, _)| *number);
    Ok(entries)
}
