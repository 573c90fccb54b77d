//! Loading a lookup table into Redis, beside raw loading of the same bytes.
//!
//! What is measured: rows a second that a load brings into a fresh `redis-server` on this machine (no persistence), from
//! the first pair put to the last reply, over 4 connections; beside it, in the same run, a bare loader that writes the
//! same hashes, encoded beforehand, over 4 connections, 64 `HSET` at a time, and does nothing else. Then reading all of
//! it back with its checksum, and the memory that a key takes (`used_memory` after less before). Each the best of three.
//! How to read it: `ratio` is the load against the bare loader (at least 0.8 is promised, or 700,000 rows a second), and
//! a key takes at most 60 bytes. On a machine that does other work at the same time both rates drop; the ratio tells
//! something still, and so do the CPU seconds.
//!
//! `cargo bench --bench lookup_redis [-- ROWS]` (10,000,000 unless told otherwise); needs redis-server. Takes about two
//! minutes and 3 GB of memory.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use lakemill::lookup::{Base, Expected, LookupTable, lookup, partition_of};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 4;
const TRIES: usize = 3;
/// Hashes that the bare loader sends before it waits for the replies.
const AT_ONCE: usize = 64;

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new("redis-server");
        server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let process = server.stdout(Stdio::null()).spawn().expect("redis-server is needed");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, port }
    }

    fn used_memory(&self) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"INFO memory\r\n").unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("lazyfreed_objects") {
            let read = stream.read(&mut buffer).unwrap();
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let line = text.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        line.trim().parse().unwrap()
    }

    /// CPU seconds of the server so far.
    fn cpu(&self) -> f64 {
        cpu(&format!("/proc/{}/stat", self.process.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// User and system time of a process, in seconds.
fn cpu(stat: &str) -> f64 {
    let stat = std::fs::read_to_string(stat).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Pairs as a scored day has them: a number, and a score with a prediction.
fn pairs(rows: usize, partitions: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut dice = 0x9e37_79b9_7f4a_7c15u64;
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = (0..rows)
        .map(|row| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let score = (dice >> 11) as f64 / (1u64 << 53) as f64;
            let value = format!("{{\"score\":{:.6},\"prediction\":{}}}", score, u8::from(score > 0.5));
            (row.to_string().into_bytes(), value.into_bytes())
        })
        .collect();
    pairs.sort_by_cached_key(|(key, _)| (partition_of(key, partitions), key.clone()));
    pairs
}

/// Rows a second of the bare loader.
fn bare(server: &Server, pairs: &[(Vec<u8>, Vec<u8>)], partitions: u32) -> f64 {
    let part = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    };
    let mut messages: Vec<(Vec<u8>, usize)> = Vec::new();
    for bucket in pairs.chunk_by(|(one, _), (next, _)| partition_of(one, partitions) == partition_of(next, partitions))
    {
        if messages.last().is_none_or(|(_, commands)| *commands == AT_ONCE) {
            messages.push((Vec::new(), 0));
        }
        let (message, commands) = messages.last_mut().unwrap();
        message.extend_from_slice(format!("*{}\r\n", 2 + 2 * bucket.len()).as_bytes());
        part(message, b"HSET");
        part(message, format!("bare:{}", partition_of(&bucket[0].0, partitions)).as_bytes());
        bucket.iter().for_each(|(key, value)| {
            part(message, key);
            part(message, value);
        });
        *commands += 1;
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let messages = &messages;
            scope.spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = vec![0; 1 << 16];
                for (message, commands) in messages.iter().skip(connection).step_by(CONNECTIONS) {
                    stream.write_all(message).unwrap();
                    let mut replies = 0;
                    while replies < *commands {
                        let read = stream.read(&mut buffer).unwrap();
                        assert!(!buffer[..read].contains(&b'-'), "the server refuses");
                        replies += buffer[..read].iter().filter(|&&byte| byte == b'\n').count();
                    }
                }
            });
        }
    });
    pairs.len() as f64 / began.elapsed().as_secs_f64()
}

struct Loaded {
    load: f64,
    verify: f64,
    own_cpu: f64,
    server_cpu: f64,
    bytes_a_key: f64,
}

fn load(pairs: &[(Vec<u8>, Vec<u8>)], partitions: u32) -> Loaded {
    let server = Server::start();
    let table = LookupTable::of_server("bench", &format!("redis://127.0.0.1:{}/0", server.port));
    let store = lookup(&table.store).unwrap();
    let empty = server.used_memory();
    let (own, other) = (cpu("/proc/self/stat"), server.cpu());
    let began = Instant::now();
    let mut staging = store.begin(&table, "bench", &Base::Nothing, partitions).unwrap();
    for (key, value) in pairs {
        staging.put(key, value).unwrap();
    }
    let contents = staging.close().unwrap();
    let load = began.elapsed().as_secs_f64();
    let (own, other) = (cpu("/proc/self/stat") - own, server.cpu() - other);
    let bytes_a_key = (server.used_memory() - empty) as f64 / pairs.len() as f64;
    let began = Instant::now();
    staging.verify(&Expected { keys: contents.keys, checksum: contents.checksum, sample: &[] }).unwrap();
    let rate = |secs: f64| pairs.len() as f64 / secs;
    let verify = rate(began.elapsed().as_secs_f64());
    drop(server);
    // What has died has nothing to be removed from; saying so in vain takes a second.
    std::mem::forget(staging);
    Loaded { load: rate(load), verify, own_cpu: own, server_cpu: other, bytes_a_key }
}

fn main() {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000_000);
    let partitions = {
        let server = Server::start();
        let table = LookupTable::of_server("bench", &format!("redis://127.0.0.1:{}/0", server.port));
        lookup(&table.store).unwrap().partitions(&table, rows as u64, &Base::Nothing).unwrap()
    };
    let pairs = pairs(rows, partitions);
    println!("{rows} rows in {partitions} buckets, {CONNECTIONS} connections");
    let (mut best_bare, mut best): (f64, Option<Loaded>) = (0.0, None);
    for _ in 0..TRIES {
        let server = Server::start();
        best_bare = best_bare.max(bare(&server, &pairs, partitions));
        drop(server);
        let loaded = load(&pairs, partitions);
        if best.as_ref().is_none_or(|best| loaded.load > best.load) {
            best = Some(loaded);
        }
    }
    let best = best.unwrap();
    println!("bare loading   {best_bare:>12.0} rows/s");
    println!("load           {:>12.0} rows/s   ratio {:.2}", best.load, best.load / best_bare);
    println!("read back      {:>12.0} rows/s", best.verify);
    println!("CPU of a load  {:>12.2} s here, {:.2} s in the server", best.own_cpu, best.server_cpu);
    println!("memory         {:>12.1} bytes a key", best.bytes_a_key);
    assert!(best.bytes_a_key <= 60.0, "a key takes more than 60 bytes");
    assert!(best.load >= 700_000.0 || best.load >= 0.8 * best_bare, "the load is slower than promised");
}
