//! The embedded lookup store: how fast 10,000,000 keys are loaded, beside LMDB alone, and how fast they are read.
//!
//! What is measured: seconds by the clock and CPU seconds (all threads, user and system) of a whole load: rows in
//! batches of 8,192 become keys and JSON values, are written, synced, hashed, read back and compared, sealed and
//! flipped to. Beside it LMDB alone: the same bytes, encoded beforehand and lying in memory, appended in the order of
//! their keys, in transactions of the same size, and synced; nothing is compared. Each is run in turn, the best of
//! three counts. Then single look-ups of random keys through a reader, and the peak memory of a process that does
//! nothing but load. How to read it: the ratio of the clocks is to be at most 1.5, the 99th percentile of a look-up
//! below 20 us; the memory does not grow with the keys (a tenth of them is loaded, too).
//!
//! `cargo bench --bench lookup [-- KEYS]`. Takes about a minute, 600 MB of memory and 2 GB of disk (`TMPDIR`).

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use heed::types::Bytes;
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, PutFlags};
use lakemill::lookup::{Columns, FlipNote, Load, LookupReader, LookupTable, Origin, Provenance, lookup};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const KEYS: u64 = 10_000_000;
const BATCH: u64 = 8192;
const GETS: usize = 1_000_000;
const ROUNDS: usize = 3;

/// Bytes of pairs in a transaction of LMDB alone.
const TRANSACTION: usize = 4 << 20;

/// In a process that is to load so many keys and tell its peak memory: how many.
const LOADER: &str = "LAKEMILL_BENCH_LOADER";

fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Keys of eight digits, in the order of their texts, with a score and a prediction.
fn batch(from: u64, to: u64) -> RecordBatch {
    let keys = Int64Array::from_iter_values((from..to).map(|key| 10_000_000 + key as i64));
    let score = |key| (mixed(key) >> 11) as f64 / (1u64 << 53) as f64;
    let scores = Float64Array::from_iter_values((from..to).map(score));
    let predictions = Int64Array::from_iter_values((from..to).map(|key| i64::from(score(key) > 0.5)));
    let columns: [(&str, ArrayRef); 3] =
        [("customer_id", Arc::new(keys)), ("score", Arc::new(scores)), ("prediction", Arc::new(predictions))];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn batches(keys: u64) -> impl Iterator<Item = RecordBatch> {
    (0..keys).step_by(BATCH as usize).map(move |from| batch(from, (from + BATCH).min(keys)))
}

fn table(folder: &Path) -> LookupTable {
    LookupTable { folder: folder.join("lookup"), ..LookupTable::of_server("bench", "file") }
}

/// Loads, verifies, seals and flips.
fn load(folder: &Path, keys: u64) -> Duration {
    let (store, table) = (lookup("file").unwrap(), table(folder));
    let began = Instant::now();
    let provenance = Provenance {
        run_id: "bench".into(),
        job: "bench".into(),
        interval: "2018-06-20".into(),
        interval_end: "2018-06-21T00:00:00Z".into(),
        model: "bench".into(),
        model_version: 1,
        keep: "latest".into(),
    };
    let schema = batch(0, 1).schema();
    let (key, values) = (["customer_id".to_owned()], ["score".to_owned(), "prediction".to_owned()]);
    let columns = Columns { schema: &schema, key: &key, values: &values };
    let mut load = Load::begin(store, &table, &columns, Origin::replacing(provenance), "bench").unwrap();
    batches(keys).for_each(|batch| load.push(&batch).unwrap());
    let at = "2018-06-21T03:00:00Z".to_owned();
    let sealed = load.verify().unwrap().seal(&at).unwrap();
    let expected = store.current(&table).unwrap();
    sealed.flip(expected, 1, &FlipNote { at, by: "bench".into(), why: "bench".into() }).unwrap();
    began.elapsed()
}

/// The pairs as they are stored, one after another, and where each key and value ends.
fn encoded(folder: &Path) -> (Vec<u8>, Vec<(usize, usize)>) {
    let reader = lookup("file").unwrap().open(&table(folder)).unwrap().unwrap();
    let keys = reader.metadata().keys as usize;
    let (mut bytes, mut ends) = (Vec::with_capacity(reader.metadata().bytes as usize), Vec::with_capacity(keys));
    let mut keep = |key: &[u8], value: &[u8]| {
        bytes.extend_from_slice(key);
        let key_end = bytes.len();
        bytes.extend_from_slice(value);
        ends.push((key_end, bytes.len()));
        Ok(())
    };
    reader.each(&mut keep).unwrap();
    (bytes, ends)
}

/// LMDB alone.
fn bare(folder: &Path, bytes: &[u8], ends: &[(usize, usize)]) -> Duration {
    let place = folder.join("bare");
    std::fs::create_dir(&place).unwrap();
    let began = Instant::now();
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(64 << 30);
    // SAFETY: nobody else has this new folder.
    let env = unsafe {
        options.flags(EnvFlags::NO_LOCK | EnvFlags::NO_SYNC);
        options.open(&place).unwrap()
    };
    let created = env.create_databases_and_commit(env.write_txn().unwrap(), |opener, txn| {
        opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    });
    let pairs = created.unwrap().commit().unwrap();
    let mut txn = env.write_txn().unwrap();
    let (mut start, mut since) = (0, 0);
    for &(key_end, value_end) in ends {
        pairs.put_with_flags(&mut txn, PutFlags::APPEND, &bytes[start..key_end], &bytes[key_end..value_end]).unwrap();
        start = value_end;
        if start - since >= TRANSACTION {
            txn.commit().unwrap();
            txn = env.write_txn().unwrap();
            since = start;
        }
    }
    txn.commit().unwrap();
    env.force_sync().unwrap();
    drop(env);
    let took = began.elapsed();
    std::fs::remove_dir_all(&place).unwrap();
    took
}

/// CPU seconds of this process so far, user and system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

fn timed(work: impl FnOnce() -> Duration) -> (f64, f64) {
    let before = cpu_seconds();
    let clock = work().as_secs_f64();
    (clock, cpu_seconds() - before)
}

/// The 50th, 99th and 99.9th percentile of single look-ups, in microseconds.
fn gets(reader: &dyn LookupReader, keys: u64) -> [f64; 3] {
    let mut nanos: Vec<u64> = (0..GETS as u64)
        .map(|number| {
            let key = (10_000_000 + mixed(number + 1) % keys).to_string();
            let began = Instant::now();
            let value = reader.get(key.as_bytes()).unwrap();
            let took = began.elapsed();
            assert!(value.is_some(), "{key}");
            took.as_nanos() as u64
        })
        .collect();
    nanos.sort_unstable();
    [0.5, 0.99, 0.999].map(|share| nanos[(share * (GETS - 1) as f64) as usize] as f64 / 1000.0)
}

/// The peak memory of a process that loads so many keys, in MiB.
fn peak(keys: u64) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.env(LOADER, keys.to_string()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn only_load(keys: u64) {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), keys);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{}", kib / 1024);
}

pub fn main() {
    if let Ok(keys) = std::env::var(LOADER) {
        return only_load(keys.parse().unwrap());
    }
    let keys: u64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(KEYS);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    load(folder, keys);
    let (bytes, ends) = encoded(folder);
    let least = |best: (f64, f64), (clock, cpu): (f64, f64)| (best.0.min(clock), best.1.min(cpu));
    let (mut ours, mut alone) = ((f64::MAX, f64::MAX), (f64::MAX, f64::MAX));
    for _ in 0..ROUNDS {
        alone = least(alone, timed(|| bare(folder, &bytes, &ends)));
        ours = least(ours, timed(|| load(folder, keys)));
    }
    drop((bytes, ends));
    let rate = |seconds: f64| keys as f64 / seconds / 1e6;
    println!("{keys} keys, {:.1} bytes each with their values", {
        let reader = lookup("file").unwrap().open(&table(folder)).unwrap().unwrap();
        reader.metadata().bytes as f64 / keys as f64
    });
    println!("a whole load   {:.2} s, {:.2} CPU s, {:.2} M keys/s", ours.0, ours.1, rate(ours.0));
    println!("LMDB alone     {:.2} s, {:.2} CPU s, {:.2} M keys/s", alone.0, alone.1, rate(alone.0));
    println!("ratio          {:.2} by the clock, {:.2} by CPU time", ours.0 / alone.0, ours.1 / alone.1);
    let reader = lookup("file").unwrap().open(&table(folder)).unwrap().unwrap();
    let [half, most, nearly_all] = gets(&*reader, keys);
    println!("a look-up      p50 {half:.2} us, p99 {most:.2} us, p99.9 {nearly_all:.2} us");
    println!("peak memory    {} MiB for {keys} keys, {} MiB for {}", peak(keys), peak(keys / 10), keys / 10);
}
