//! [UBJSON](https://ubjson.org), draft 12, as XGBoost writes it: big-endian numbers, strings with their length, typed
//! lists.

use super::damaged;
use super::document::{DEEPEST, Document, ListBuilder, MOST_VALUES};
use crate::error::{Error, Result};

/// The value that the bytes are.
///
/// # Errors
/// Check: bytes that are no UBJSON, with the place; values that lie too deep within each other.
pub(super) fn parse(bytes: &[u8]) -> Result<Document> {
    let mut reader = Reader { bytes, at: 0, made: 0 };
    let marker = reader.marker()?;
    let value = reader.value(marker, 0)?;
    if reader.at < bytes.len() { Err(reader.wrong("something follows the end")) } else { Ok(value) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many values there are that are not packed.
    made: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> Error {
        damaged(format!("it is no UBJSON: {what}")).with("byte", self.at)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.wrong("it is cut off"))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.wrong("it is cut off"))
    }

    /// The next marker; `N` says nothing.
    fn marker(&mut self) -> Result<u8> {
        loop {
            let [marker] = self.array()?;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    /// Takes the marker, if it is next.
    fn took(&mut self, marker: u8) -> bool {
        let is_next = self.bytes.get(self.at) == Some(&marker);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, marker: u8, depth: usize) -> Result<Document> {
        if depth > DEEPEST {
            return Err(self.wrong("its values lie too deep within each other"));
        }
        if self.made > MOST_VALUES {
            return Err(self.wrong("it has too many values"));
        }
        Ok(match marker {
            b'Z' => Document::Null,
            b'T' => Document::Boolean(true),
            b'F' => Document::Boolean(false),
            b'S' | b'H' => Document::Text(self.string()?),
            b'C' => Document::Text(char::from(self.array::<1>()?[0]).to_string()),
            b'{' => self.object(depth)?,
            b'[' => self.list(depth)?,
            _ => Document::Number(self.number(marker)?),
        })
    }

    fn number(&mut self, marker: u8) -> Result<f64> {
        Ok(match marker {
            b'i' => f64::from(i8::from_be_bytes(self.array()?)),
            b'U' => f64::from(u8::from_be_bytes(self.array()?)),
            b'I' => f64::from(i16::from_be_bytes(self.array()?)),
            b'u' => f64::from(u16::from_be_bytes(self.array()?)),
            b'l' => f64::from(i32::from_be_bytes(self.array()?)),
            b'm' => f64::from(u32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?) as f64,
            b'M' => u64::from_be_bytes(self.array()?) as f64,
            b'd' => f64::from(f32::from_be_bytes(self.array()?)),
            b'D' => f64::from_be_bytes(self.array()?),
            _ => return Err(self.wrong("a marker is unknown")),
        })
    }

    fn length(&mut self) -> Result<usize> {
        let marker = self.marker()?;
        let number = self.number(marker)?;
        super::document::whole(number).ok_or_else(|| self.wrong("a length is no whole number"))
    }

    fn string(&mut self) -> Result<String> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.wrong("a string is not UTF-8"))
    }

    /// The type and the number of what follows, where they are told.
    fn head(&mut self) -> Result<(Option<u8>, Option<usize>)> {
        let of = if self.took(b'$') { Some(self.marker()?) } else { None };
        let count = if self.took(b'#') { Some(self.length()?) } else { None };
        match (of, count) {
            (Some(_), None) => Err(self.wrong("a typed list has no length")),
            // Values without bytes could be many at no cost to whoever wrote the file.
            (Some(b'Z' | b'T' | b'F' | b'N'), _) => Err(self.wrong("a typed list has values without bytes")),
            (_, Some(count)) if count > self.bytes.len() - self.at => Err(self.wrong("it is cut off")),
            head => Ok(head),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Document> {
        let (of, count) = self.head()?;
        let mut list = ListBuilder::new();
        let mut left = count;
        loop {
            match &mut left {
                Some(0) => return Ok(list.finish()),
                Some(left) => *left -= 1,
                None if self.took(b']') => return Ok(list.finish()),
                None => {}
            }
            let marker = of.map_or_else(|| self.marker(), Ok)?;
            if marker == b']' && count.is_none() {
                return Ok(list.finish());
            }
            list.push(self.value(marker, depth + 1)?);
            self.made += usize::from(!list.is_packed());
        }
    }

    fn object(&mut self, depth: usize) -> Result<Document> {
        let (of, count) = self.head()?;
        let mut members = Vec::new();
        let mut left = count;
        loop {
            match &mut left {
                Some(0) => return Ok(Document::Object(members)),
                Some(left) => *left -= 1,
                None if self.took(b'}') => return Ok(Document::Object(members)),
                None => {}
            }
            let key = self.string()?;
            let marker = of.map_or_else(|| self.marker(), Ok)?;
            members.push((key, self.value(marker, depth + 1)?));
            self.made += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_lists_and_objects_are_read() {
        let mut bytes = b"{L\0\0\0\0\0\0\0\x01a[$d#i\x02".to_vec();
        bytes.extend(1.5f32.to_be_bytes());
        bytes.extend((-2f32).to_be_bytes());
        bytes.extend(b"i\x01b[SU\x02hiT]i\x01c[$l#i\x01\0\0\x01\0i\x01d{i\x01eZ}i\x01f[TFi\x07]}");
        let document = parse(&bytes).unwrap();
        assert_eq!(document.numbers("a").unwrap(), [1.5, -2.0]);
        assert_eq!(document.list("b").unwrap(), [Document::Text("hi".to_owned()), Document::Boolean(true)]);
        assert_eq!(document.numbers("c").unwrap(), [256.0]);
        assert_eq!(document.need("d").unwrap().get("e"), Some(&Document::Null));
        assert_eq!(document.numbers("f").unwrap(), [1.0, 0.0, 7.0]);
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn lengths_are_not_believed() {
        for bytes in [
            &b"[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff"[..],
            b"[$T#L\0\0\0\x7f\xff\xff\xff\xff",
            b"SL\0\0\0\x7f\xff\xff\xff\xffabc",
            b"[$d",
            b"{#i\x01",
            b"x",
        ] {
            assert!(parse(bytes).is_err());
        }
        assert!(parse(&[b'['; 100_000]).is_err());
        assert!(parse("[[]".as_bytes()).is_err());
    }
}
