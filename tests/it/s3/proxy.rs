//! Stands between a client and the server and does what networks and busy servers do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What is done to connections and requests.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many requests are answered with 503 SlowDown from now on.
    pub slow_down: AtomicI64,
    /// How many requests are still answered as usual before the next of them gets 503.
    pub healthy: AtomicI64,
    /// How many answers are cut off after some of their bytes.
    pub cut_answers: AtomicI64,
    /// How many PUTs reach the server while their answer does not come back.
    pub lost_answers: AtomicI64,
    /// Whether requests get no answer at all, for as long as it is set.
    pub hangs: AtomicBool,
    /// How many requests came.
    pub requests: AtomicU64,
}

/// A proxy; it runs until the process ends.
pub struct Proxy {
    pub port: u16,
    pub faults: Arc<Faults>,
}

const SLOW_DOWN: &str = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Reduce</Message></Error>";

/// A cut answer has at least this many bytes before the cut: its head, and some of its body.
const CUT_AFTER: usize = 700;

fn take(count: &AtomicI64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| (left > 0).then(|| left - 1)).is_ok()
}

impl Proxy {
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(Faults::default());
        let shared = Arc::clone(&faults);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let faults = Arc::clone(&shared);
                // One request a connection keeps this simple: the client opens another.
                thread::spawn(move || drop(serve(client, server, &faults)));
            }
        });
        Self { port, faults }
    }
}

/// Reads one request, whole.
fn request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match client.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    while bytes.len() < head + length.unwrap_or(0) {
        match client.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(bytes)
}

fn serve(mut client: TcpStream, server: u16, faults: &Faults) -> std::io::Result<()> {
    let request = request(&mut client)?;
    faults.requests.fetch_add(1, Ordering::SeqCst);
    while faults.hangs.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20));
    }
    if !take(&faults.healthy) && take(&faults.slow_down) {
        let head = format!(
            "HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            SLOW_DOWN.len()
        );
        client.write_all(head.as_bytes())?;
        return client.write_all(SLOW_DOWN.as_bytes());
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    // Without the header that keeps the connection, the end of the answer is the end of the connection.
    let head = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_default();
    upstream.write_all(&request[..head])?;
    upstream.write_all(b"\r\nconnection: close")?;
    upstream.write_all(&request[head..])?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if request.starts_with(b"PUT") && take(&faults.lost_answers) {
        return client.shutdown(Shutdown::Both);
    }
    if answer.len() > 2 * CUT_AFTER && take(&faults.cut_answers) {
        client.write_all(&answer[..answer.len() / 2])?;
        return client.shutdown(Shutdown::Both);
    }
    client.write_all(&answer)?;
    client.shutdown(Shutdown::Write)
}
