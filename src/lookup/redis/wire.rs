//! RESP2, the protocol of Redis: commands are written into one buffer, replies are parsed where they were received.

use std::io::{self, Read};
use std::ops::Range;

/// How much is read from a socket at once.
const READ_BYTES: usize = 256 * 1024;

/// Arrays this deep are not replies to anything that is asked here.
const DEEPEST: usize = 8;

/// What a server says no with: a code in capitals, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `OOM`, `READONLY`, `MOVED` ..., or `ERR`.
    pub code: String,
    /// The line, with the code.
    pub line: String,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// No such key or field.
    Nil,
    /// `OK` and the like.
    Status(String),
    /// A number.
    Int(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// An array that holds nothing but bytes.
    Texts(Texts),
    /// Any other array.
    Array(Vec<Reply>),
    /// The server refused.
    Error(Refusal),
}

/// Byte strings, one after the other in one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string at `index`; empty where there is none.
    pub fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(index).map_or(&[], |&end| &self.bytes[start..end])
    }

    /// The strings in twos: fields and values of a hash.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.len() / 2).map(|pair| (self.get(2 * pair), self.get(2 * pair + 1)))
    }

    /// Adds one.
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }
}

/// Writes a number as text.
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Begins a command of `arguments` parts, the command's name included.
pub fn begin(out: &mut Vec<u8>, arguments: usize) {
    out.push(b'*');
    decimal(out, arguments as u64);
    out.extend_from_slice(b"\r\n");
}

/// Writes one part of a command.
pub fn argument(out: &mut Vec<u8>, part: &[u8]) {
    out.push(b'$');
    decimal(out, part.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole command.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    begin(out, parts.len());
    parts.iter().for_each(|part| argument(out, part));
}

/// Replies as they come from a socket.
#[derive(Default)]
pub struct Incoming {
    buffer: Vec<u8>,
    start: usize,
}

impl Incoming {
    /// The next reply.
    ///
    /// # Errors
    /// What reading fails with; `InvalidData` for what is not RESP2, `UnexpectedEof` where the connection ends.
    pub fn reply(&mut self, from: &mut impl Read) -> io::Result<Reply> {
        self.nested(from, 0)
    }

    fn nested(&mut self, from: &mut impl Read, depth: usize) -> io::Result<Reply> {
        let (first, line) = self.line(from)?;
        let line = &self.buffer[line];
        match first {
            b'+' => Ok(Reply::Status(String::from_utf8_lossy(line).into_owned())),
            b'-' => {
                let line = String::from_utf8_lossy(line).into_owned();
                let code = line.split(' ').next().unwrap_or_default().to_owned();
                Ok(Reply::Error(Refusal { code, line }))
            }
            b':' => number(line).map(Reply::Int),
            b'$' => match number(line)? {
                -1 => Ok(Reply::Nil),
                length => {
                    let length = size(length)?;
                    self.bytes(from, length, |bytes| Reply::Bulk(bytes.to_vec()))
                }
            },
            b'*' => match number(line)? {
                -1 => Ok(Reply::Nil),
                _ if depth >= DEEPEST => Err(invalid("a reply is nested too deeply")),
                count => self.array(from, size(count)?, depth),
            },
            _ => Err(invalid("the server does not speak the protocol of Redis")),
        }
    }

    fn array(&mut self, from: &mut impl Read, count: usize, depth: usize) -> io::Result<Reply> {
        let mut texts = Texts::default();
        while texts.len() < count {
            if self.peek(from)? != b'$' {
                break;
            }
            let (_, line) = self.line(from)?;
            let length = number(&self.buffer[line])?;
            if length == -1 {
                return self.mixed(from, (texts, Some(Reply::Nil)), count, depth);
            }
            self.bytes(from, size(length)?, |bytes| texts.push(bytes))?;
        }
        if texts.len() == count { Ok(Reply::Texts(texts)) } else { self.mixed(from, (texts, None), count, depth) }
    }

    /// Goes on where an array holds something else than bytes.
    fn mixed(
        &mut self,
        from: &mut impl Read,
        (texts, next): (Texts, Option<Reply>),
        count: usize,
        depth: usize,
    ) -> io::Result<Reply> {
        let mut array: Vec<Reply> = (0..texts.len()).map(|index| Reply::Bulk(texts.get(index).to_vec())).collect();
        array.extend(next);
        while array.len() < count {
            array.push(self.nested(from, depth + 1)?);
        }
        Ok(Reply::Array(array))
    }

    fn peek(&mut self, from: &mut impl Read) -> io::Result<u8> {
        while self.start == self.buffer.len() {
            self.fill(from)?;
        }
        Ok(self.buffer[self.start])
    }

    /// The type of a reply, and where the rest of its line stands.
    fn line(&mut self, from: &mut impl Read) -> io::Result<(u8, Range<usize>)> {
        let mut searched = self.start;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let (start, end) = (self.start, searched + at);
                self.start = end + 1;
                return match &self.buffer[start..end] {
                    [first, .., b'\r'] => Ok((*first, start + 1..end - 1)),
                    _ => Err(invalid("the server sent a line that is none")),
                };
            }
            let unread = self.buffer.len() - self.start;
            if unread > READ_BYTES {
                return Err(invalid("the server sent a line that does not end"));
            }
            self.fill(from)?;
            // What was unread stands at the front now.
            searched = self.start + unread;
        }
    }

    fn bytes<T>(&mut self, from: &mut impl Read, length: usize, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        while self.buffer.len() - self.start < length + 2 {
            self.fill(from)?;
        }
        let end = self.start + length;
        if &self.buffer[end..end + 2] != b"\r\n" {
            return Err(invalid("a reply is longer than it says"));
        }
        let taken = take(&self.buffer[self.start..end]);
        self.start = end + 2;
        Ok(taken)
    }

    /// Reads what has come; memory grows with what comes, not with what is announced.
    fn fill(&mut self, from: &mut impl Read) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + READ_BYTES, 0);
        let read = loop {
            match from.read(&mut self.buffer[held..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(()),
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn number(line: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    text.parse().map_err(|_| invalid("the server sent something else than a number"))
}

/// A length that Redis can mean: its strings end at 512 MiB.
fn size(length: i64) -> io::Result<usize> {
    usize::try_from(length)
        .ok()
        .filter(|&length| length <= 512 << 20)
        .ok_or_else(|| invalid("a length is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a read.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            out[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn parse(bytes: &[u8]) -> io::Result<Reply> {
        let whole = Incoming::default().reply(&mut { bytes });
        let dribbled = Incoming::default().reply(&mut Dribble(bytes));
        assert_eq!(whole.as_ref().ok(), dribbled.as_ref().ok());
        whole
    }

    #[test]
    fn every_kind_of_reply_is_read_however_it_arrives() {
        assert_eq!(parse(b"+OK\r\n").unwrap(), Reply::Status("OK".into()));
        assert_eq!(parse(b":-12\r\n").unwrap(), Reply::Int(-12));
        assert_eq!(parse(b"$-1\r\n").unwrap(), Reply::Nil);
        assert_eq!(parse(b"*-1\r\n").unwrap(), Reply::Nil);
        assert_eq!(parse(b"$4\r\na\r\nb\r\n").unwrap(), Reply::Bulk(b"a\r\nb".to_vec()));
        let Reply::Texts(texts) = parse(b"*4\r\n$1\r\na\r\n$0\r\n\r\n$2\r\nbc\r\n$1\r\nd\r\n").unwrap() else {
            panic!()
        };
        assert_eq!(texts.pairs().collect::<Vec<_>>(), [(&b"a"[..], &b""[..]), (b"bc", b"d")]);
        let mixed = parse(b"*4\r\n$1\r\na\r\n$-1\r\n:3\r\n*1\r\n+x\r\n").unwrap();
        let inner = Reply::Array(vec![Reply::Status("x".into())]);
        assert_eq!(mixed, Reply::Array(vec![Reply::Bulk(b"a".to_vec()), Reply::Nil, Reply::Int(3), inner]));
        let Reply::Error(refusal) = parse(b"-MOVED 7 127.0.0.1:7001\r\n").unwrap() else { panic!() };
        assert_eq!((refusal.code.as_str(), refusal.line.as_str()), ("MOVED", "MOVED 7 127.0.0.1:7001"));
    }

    #[test]
    fn what_is_no_reply_is_an_error_and_takes_no_memory() {
        let deep = "*1\r\n".repeat(100);
        let damaged: [&[u8]; 9] = [
            b"HTTP/1.1 400\r\n",
            b"\r\n",
            b":x\r\n",
            b"$99999999999\r\n",
            b"$-2\r\n",
            b"*1\r\n$-7\r\n$1",
            b"$1\r\nabc\r\n",
            b"$536870912\r\nab",
            deep.as_bytes(),
        ];
        for bytes in damaged {
            assert!(parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(parse(b"$5\r\nab").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_command_is_an_array_of_its_parts() {
        let mut out = Vec::new();
        command(&mut out, &[b"GET", b"a\r\n"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n");
        for number in [0, 9, 10, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
