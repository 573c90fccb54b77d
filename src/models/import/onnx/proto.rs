//! Protocol buffers as far as ONNX files need them: fields of a message, in the order in which they stand, borrowed from
//! the file. Nothing is allocated here, so that no message costs more than its bytes.
//!
//! See the [encoding](https://protobuf.dev/programming-guides/encoding/) and the
//! [messages of ONNX](https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), whose field numbers the readers name.

use crate::error::Result;
use crate::models::import::damaged;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// A message: an iterator over its fields.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Message<'a> {
    pub bytes: &'a [u8],
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl<'a> Message<'a> {
    fn field(bytes: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
        let key = varint(bytes)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(bytes)?),
            1 => {
                let (value, rest) = bytes.split_first_chunk::<8>()?;
                *bytes = rest;
                Value::Fixed64(*value)
            }
            2 => {
                let length = usize::try_from(varint(bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                *bytes = rest;
                Value::Bytes(value)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk::<4>()?;
                *bytes = rest;
                Value::Fixed32(*value)
            }
            _ => return None,
        };
        Some((number, value))
    }

    /// All fields, or an error where the bytes are no message.
    pub fn fields(self) -> impl Iterator<Item = Result<(u32, Value<'a>)>> {
        let mut bytes = self.bytes;
        std::iter::from_fn(move || {
            if bytes.is_empty() {
                return None;
            }
            let field = Self::field(&mut bytes);
            if field.is_none() {
                bytes = &[];
            }
            Some(field.ok_or_else(|| damaged("it is no protocol buffer, or is cut off")))
        })
    }

    /// The values of a repeated field.
    pub fn all(self, wanted: u32) -> impl Iterator<Item = Result<Value<'a>>> {
        self.fields().filter_map(move |field| match field {
            Ok((number, value)) if number == wanted => Some(Ok(value)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// The last value of a field, which is the one that counts.
    pub fn last(self, wanted: u32) -> Result<Option<Value<'a>>> {
        self.all(wanted).try_fold(None, |_, value| value.map(Some))
    }

    /// The messages of a repeated field.
    pub fn messages(self, wanted: u32) -> impl Iterator<Item = Result<Message<'a>>> {
        self.all(wanted).map(|value| value?.message())
    }

    /// The strings of a repeated field.
    pub fn texts(self, wanted: u32) -> Result<Vec<&'a str>> {
        self.all(wanted).map(|value| value?.text()).collect()
    }

    /// The string of a field; empty where it is absent.
    pub fn text(self, wanted: u32) -> Result<&'a str> {
        self.last(wanted)?.map_or(Ok(""), Value::text)
    }

    /// The message of a field; empty where it is absent.
    pub fn message(self, wanted: u32) -> Result<Message<'a>> {
        self.last(wanted)?.map_or(Ok(Message::default()), Value::message)
    }

    /// The whole number of a field; 0 where it is absent.
    pub fn integer(self, wanted: u32) -> Result<i64> {
        self.last(wanted)?.map_or(Ok(0), Value::integer)
    }

    /// The whole numbers of a repeated field, packed or not.
    pub fn integers(self, wanted: u32) -> Result<Vec<i64>> {
        let mut numbers = Vec::new();
        for value in self.all(wanted) {
            match value? {
                Value::Bytes(mut bytes) => {
                    while !bytes.is_empty() {
                        numbers.push(varint(&mut bytes).ok_or_else(wrong)? as i64);
                    }
                }
                value => numbers.push(value.integer()?),
            }
        }
        Ok(numbers)
    }

    /// The `f32` numbers of a repeated field, packed or not.
    pub fn floats(self, wanted: u32) -> Result<Vec<f32>> {
        let mut numbers = Vec::new();
        for value in self.all(wanted) {
            match value? {
                Value::Fixed32(bytes) => numbers.push(f32::from_le_bytes(bytes)),
                Value::Bytes(bytes) if bytes.len() % 4 == 0 => {
                    numbers.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                }
                _ => return Err(wrong()),
            }
        }
        Ok(numbers)
    }

    /// The `f64` numbers of a repeated field, packed or not.
    pub fn doubles(self, wanted: u32) -> Result<Vec<f64>> {
        let mut numbers = Vec::new();
        for value in self.all(wanted) {
            match value? {
                Value::Fixed64(bytes) => numbers.push(f64::from_le_bytes(bytes)),
                Value::Bytes(bytes) if bytes.len() % 8 == 0 => {
                    numbers.extend(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)));
                }
                _ => return Err(wrong()),
            }
        }
        Ok(numbers)
    }
}

impl<'a> Value<'a> {
    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong()),
        }
    }

    pub fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|source| damaged("a name is not UTF-8").because(source))
    }

    pub fn message(self) -> Result<Message<'a>> {
        self.bytes().map(|bytes| Message { bytes })
    }

    pub fn integer(self) -> Result<i64> {
        match self {
            Self::Varint(number) => Ok(number as i64),
            _ => Err(wrong()),
        }
    }
}

fn wrong() -> crate::error::Error {
    damaged("a field of the protocol buffer is of another type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_packed_or_not() {
        let bytes =
            [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x1a, 4, 0, 0, 0, 0x40, 0x22, 2, 3, 4];
        let message = Message { bytes: &bytes };
        assert_eq!(message.integer(1).unwrap(), 150);
        assert_eq!(message.text(2).unwrap(), "hi");
        assert_eq!(message.floats(3).unwrap(), [1.0, 2.0]);
        assert_eq!(message.integers(4).unwrap(), [3, 4]);
        assert_eq!(message.text(9).unwrap(), "");
        assert!(message.integer(2).is_err());
        for end in [1, 2, 4, 5, 9, 20] {
            assert!(Message { bytes: &bytes[..end] }.fields().any(|field| field.is_err()), "cut at {end}");
        }
        assert!(Message { bytes: &[0xff; 40] }.fields().all(|field| field.is_err()));
    }
}
