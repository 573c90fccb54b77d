//! Requests a second of `lakemill serve` while generations flip every second.
//!
//! What is measured: `wrk` with 64 connections asks the real binary over loopback for random keys of a table of 100,000
//! (`LAKEMILL_SERVE_KEYS`), for 15 seconds (`LAKEMILL_SERVE_SECONDS`), while this process publishes a new generation
//! every second and a reader beside them compares each answer with the generation that it names. wrk, the server and
//! the publisher share the machine's cores. How to read it: 30,000 requests/s or more and a 99th percentile below 10 ms
//! on two idle cores, and no error.
//!
//! `cargo bench --bench serve`; needs `wrk`. `LAKEMILL_SERVE_FLIPS=0` leaves the flips out.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{sort_to_indices, take_record_batch};
use lakemill::lookup::{Columns, FlipNote, Load, LookupTable, Origin, Provenance, encoded_keys, lookup};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const INSTANT: &str = "2018-06-21T00:00:00Z";

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |value| value.parse().unwrap())
}

/// Publishes a generation in which each value holds the number `mark`.
fn publish(table: &LookupTable, keys: u64, mark: u64) {
    let keys = i64::try_from(keys).unwrap();
    let columns: [(&str, ArrayRef); 3] = [
        ("customer_id", Arc::new((0..keys).collect::<Int64Array>())),
        ("score", Arc::new((0..keys).map(|key| key as f64 / keys as f64).collect::<Float64Array>())),
        ("mark", Arc::new(UInt64Array::from(vec![mark; keys as usize]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let names = ["customer_id", "score", "mark"].map(str::to_owned);
    let order = sort_to_indices(&encoded_keys(&batch, &names[..1]).unwrap(), None, None).unwrap();
    let batch = take_record_batch(&batch, &order).unwrap();
    let provenance = Provenance {
        run_id: format!("run-{mark}"),
        job: "bench".into(),
        interval: "2018-06-20".into(),
        interval_end: INSTANT.into(),
        model: "bench".into(),
        model_version: 1,
        keep: "latest".into(),
    };
    let store = lookup("file").unwrap();
    let expected = store.current(table).unwrap();
    let columns = Columns { schema: &batch.schema(), key: &names[..1], values: &names[1..] };
    let mut load = Load::begin(store, table, &columns, Origin::replacing(provenance), "bench").unwrap();
    load.push(&batch).unwrap();
    let note = FlipNote { at: INSTANT.into(), by: "bench".into(), why: "bench".into() };
    load.verify().unwrap().seal(INSTANT).unwrap().flip(expected, 3, &note).unwrap();
}

/// Asks on one connection and compares; gives the number of answers and of generations seen.
fn compare(address: &str, keys: u64, done: &AtomicBool) -> (u64, u64) {
    let mut stream = TcpStream::connect(address).unwrap();
    let (mut answers, mut generations, mut last) = (0, 0, 0);
    let mut buffer = [0; 4096];
    while !done.load(Ordering::Relaxed) {
        let key = answers * 7919 % keys;
        write!(stream, "GET /v1/bench/{key} HTTP/1.1\r\nhost: bench\r\n\r\n").unwrap();
        let read = stream.read(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..read]).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        let number = |before: &str, after: char| -> u64 {
            text.split_once(before).unwrap().1.split(after).next().unwrap().trim().parse().unwrap()
        };
        let (named, held) = (number("lakemill-generation: ", '\r'), number("\"mark\":", '}'));
        assert_eq!(named, held, "an answer of two generations: {text}");
        generations += u64::from(named != last);
        last = named;
        answers += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    (answers, generations)
}

fn main() {
    if Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return println!("skipped: wrk is not installed");
    }
    let (keys, seconds) = (setting("LAKEMILL_SERVE_KEYS", 100_000), setting("LAKEMILL_SERVE_SECONDS", 15));
    let flips = setting("LAKEMILL_SERVE_FLIPS", 1) > 0;
    let home = tempfile::tempdir().unwrap();
    let table = LookupTable { folder: home.path().join("lookup/bench"), ..LookupTable::of_server("bench", "file") };
    publish(&table, keys, 1);
    let mut server = Command::new(env!("CARGO_BIN_EXE_lakemill"))
        .args(["serve", "--listen", "127.0.0.1:0", "--output", "json", "--home"])
        .arg(home.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.split("http://").nth(1).unwrap().split('"').next().unwrap();

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| compare(address, keys, &done));
        let publisher = scope.spawn(|| {
            let began = Instant::now();
            for mark in 2.. {
                let wait = Duration::from_secs(mark - 1).saturating_sub(began.elapsed());
                std::thread::sleep(wait.min(Duration::from_secs(1)));
                if done.load(Ordering::Relaxed) || !flips {
                    return mark - 1;
                }
                publish(&table, keys, mark);
            }
            0
        });
        println!("{}", wrk(home.path(), address, keys, seconds));
        done.store(true, Ordering::Relaxed);
        let ((answers, generations), published) = (reader.join().unwrap(), publisher.join().unwrap());
        println!("{answers} answers compared, of {generations} generations; {published} were published");
    });
    server.kill().unwrap();
    server.wait().unwrap();
}

/// What wrk says.
fn wrk(folder: &Path, address: &str, keys: u64, seconds: u64) -> String {
    let script = folder.join("keys.lua");
    let lua = format!(
        "local thread = 0\nfunction setup(t) t:set('seed', thread); thread = thread + 1 end\n\
         function init() math.randomseed(seed) end\n\
         function request() return wrk.format('GET', '/v1/bench/' .. math.random(0, {})) end\n",
        keys - 1
    );
    std::fs::write(&script, lua).unwrap();
    let output = Command::new("wrk")
        .args(["-t2", "-c64", "--latency", &format!("-d{seconds}s"), "-s"])
        .arg(&script)
        .arg(format!("http://{address}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let wrong = ["Socket errors", "Non-2xx"].iter().find(|wrong| text.contains(**wrong));
    assert!(wrong.is_none(), "{text}");
    text
}
