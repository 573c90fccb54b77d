//! As much of HTTP as servers in tests need: one request a connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Without the query, decoded.
    pub path: String,
    /// Names and values of the query, decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn read(from: &mut impl Read) -> std::io::Result<Self> {
        let (mut head, mut next) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            from.read_exact(&mut next)?;
            head.push(next[0]);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |text: &str, at: char| {
            let (name, value) = text.split_once(at).unwrap_or((text, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        let headers: Vec<_> = lines.filter(|line| !line.is_empty()).map(|line| pair(line, ':')).collect();
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let query = query.split('&').filter(|part| !part.is_empty()).map(|part| pair(part, '='));
        let query = query.map(|(name, value)| (decoded(&name), decoded(&value.replace('+', " ")))).collect();
        let mut request = Self { method: method.to_owned(), path: decoded(path), query, headers, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        from.read_exact(&mut request.body)?;
        Ok(request)
    }
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// The part of it that was asked for.
    pub fn ranged(mut self, request: &Request) -> Self {
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let (200, Some((from, to))) = (self.status, range) else { return self };
        let whole = self.body.len();
        let (from, to) = match from.parse::<usize>() {
            Ok(from) => (from, to.parse().map_or(whole, |to: usize| (to + 1).min(whole))),
            Err(_) => (whole.saturating_sub(to.parse().unwrap_or(0)), whole),
        };
        self.body = self.body[from.min(to)..to].to_vec();
        self.status = 206;
        self.with("content-range", format!("bytes {from}-{}/{whole}", to.max(1) - 1))
    }

    fn write(&self, to: &mut impl Write, is_head: bool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Said\r\nconnection: close\r\n", self.status);
        head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        self.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        to.write_all(format!("{head}\r\n").as_bytes())?;
        if is_head { Ok(()) } else { to.write_all(&self.body) }
    }
}

/// Answers what comes to a port of this machine until the process ends.
pub fn serve<S: Send + Sync + 'static>(state: Arc<S>, answer: fn(&S, &Request) -> Answer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || drop(one(client, &*state, answer)));
        }
    });
    port
}

fn one<S>(mut client: TcpStream, state: &S, answer: fn(&S, &Request) -> Answer) -> std::io::Result<()> {
    let request = Request::read(&mut client)?;
    answer(state, &request).write(&mut client, request.method == "HEAD")
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
