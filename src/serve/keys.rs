//! Keys as clients write them: in a path, and in the body of a batch.

use super::problem::Problem;
use crate::lookup::KeyColumns;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// What stands behind `/v1/`: the part up to the first slash and, where there is one, what follows it. Escapes are
/// still escapes.
pub fn parts(path: &str) -> (&str, Option<&str>) {
    let rest = path.strip_prefix("/v1/").unwrap_or_default();
    rest.split_once('/').map_or((rest, None), |(table, key)| (table, Some(key)))
}

/// A part of a path with its percent escapes undone. A plus is a plus.
///
/// # Errors
/// A problem where an escape is none, or the bytes are not UTF-8.
pub fn unescaped(part: &str) -> Result<Cow<'_, str>, Problem> {
    if !part.contains('%') {
        return Ok(Cow::Borrowed(part));
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(Problem::invalid_key("a percent sign is not followed by two hex digits; write it as %25"));
        };
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    let text = String::from_utf8(bytes);
    text.map(Cow::Owned).map_err(|_| Problem::invalid_key("the bytes of the key are not UTF-8; keys are text"))
}

/// Checks that a key can be in a table at all.
///
/// # Errors
/// A problem where it is empty or longer than `most` bytes.
pub fn checked<'a>(key: Cow<'a, str>, most: usize) -> Result<Cow<'a, str>, Problem> {
    if key.is_empty() {
        return Err(Problem::invalid_key("the key is empty"));
    }
    if key.len() > most {
        let detail = format!("the key has {} bytes, and no key is longer than {most}", key.len());
        return Err(Problem::invalid_key(detail));
    }
    Ok(key)
}

/// The body of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch<'a> {
    /// The keys that are asked for, in the order of the answer.
    #[serde(borrow)]
    pub keys: Vec<Key<'a>>,
}

/// A key in the body of a batch: its text, a whole number, or the columns of a key of several.
#[derive(Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The key as it is stored.
    Text(Cow<'a, str>),
    /// A text or a whole number for each column.
    Columns(Vec<Cow<'a, str>>),
}

impl<'a> Key<'a> {
    /// The key as it is stored.
    ///
    /// # Errors
    /// A problem where it names another number of columns than `columns`, if that is known.
    pub fn stored(self, columns: Option<usize>) -> Result<Cow<'a, str>, Problem> {
        let parts = match self {
            Self::Text(text) => return Ok(text),
            Self::Columns(parts) => parts,
        };
        let columns = columns.unwrap_or(parts.len());
        let texts: Vec<&str> = parts.iter().map(Cow::as_ref).collect();
        let key = KeyColumns::of_texts(&texts, columns).ok().and_then(|key| String::from_utf8(key).ok());
        key.map(Cow::Owned).ok_or_else(|| {
            Problem::invalid_key(format!("the key has {} parts, and the table's keys have {columns}", texts.len()))
        })
    }
}

struct KeyVisitor {
    /// Whether a list of columns may stand here.
    whole: bool,
}

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.whole {
            "a text, a whole number, or a list of these (the columns of a key)"
        } else {
            "a text or a whole number"
        })
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
        Ok(Key::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
        Ok(Key::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Key<'de>, E> {
        Ok(Key::Text(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Key<'de>, E> {
        Ok(Key::Text(Cow::Owned(number.to_string())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Key<'de>, A::Error> {
        if !self.whole {
            return Err(A::Error::custom("a column of a key is a text or a whole number, not a list"));
        }
        let mut columns = Vec::new();
        while let Some(Part(part)) = parts.next_element()? {
            columns.push(part);
        }
        if columns.is_empty() {
            return Err(A::Error::custom("a key has at least one column"));
        }
        Ok(Key::Columns(columns))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor { whole: true })
    }
}

struct Part<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Part<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(KeyVisitor { whole: false })? {
            Key::Text(text) => Ok(Self(text)),
            Key::Columns(_) => Err(D::Error::custom("a column of a key is not a list")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_a_table_and_a_key() {
        assert_eq!(parts("/v1/t/a"), ("t", Some("a")));
        assert_eq!(parts("/v1/t/a/b%2Fc/"), ("t", Some("a/b%2Fc/")));
        assert_eq!(parts("/v1/t/"), ("t", Some("")));
        assert_eq!(parts("/v1/t:mget"), ("t:mget", None));
    }

    #[test]
    fn escapes_are_undone_or_refused() {
        for (part, key) in [("42", "42"), ("a%2Fb+c", "a/b+c"), ("%c3%A9", "é"), ("%00%25", "\0%"), ("eu%7C7", "eu|7")]
        {
            assert_eq!(unescaped(part).unwrap(), key);
        }
        for part in ["%", "a%2", "%zz", "%+1", "%ff", "%C3", "%ED%A0%80"] {
            assert!(unescaped(part).is_err(), "{part}");
        }
    }

    #[test]
    fn keys_that_no_table_holds_are_refused() {
        assert!(checked("".into(), 511).is_err());
        assert!(checked("k".repeat(512).into(), 511).is_err());
        assert_eq!(checked("k".repeat(511).into(), 511).unwrap().len(), 511);
    }

    #[test]
    fn keys_of_a_batch_are_texts_numbers_or_columns() {
        let body = r#"{"keys": ["42", 42, -7, 18446744073709551615, "a\"\u00e9", ["eu|x", "a\\b", 7], ["only|one"]]}"#;
        let batch: Batch<'_> = serde_json::from_str(body).unwrap();
        let stored: Vec<_> = batch.keys.into_iter().map(|key| key.stored(None).unwrap().into_owned()).collect();
        let expected = ["42", "42", "-7", "18446744073709551615", "a\"é", r"eu\|x|a\\b|7", "only|one"];
        assert_eq!(stored, expected);
    }

    #[test]
    fn other_bodies_are_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"keys": null}"#,
            r#"{"keys": "42"}"#,
            r#"{"keys": [1.0]}"#,
            r#"{"keys": [1e2]}"#,
            r#"{"keys": [true]}"#,
            r#"{"keys": [null]}"#,
            r#"{"keys": [{}]}"#,
            r#"{"keys": [[]]}"#,
            r#"{"keys": [["a", ["b"]]]}"#,
            r#"{"keys": ["\ud800"]}"#,
            r#"{"keys": ["a"], "keys": ["b"]}"#,
            r#"{"keys": ["a"], "table": "t"}"#,
            r#"{"keys": ["a"]} x"#,
        ] {
            assert!(serde_json::from_str::<Batch<'_>>(body).is_err(), "{body}");
        }
        let nested = format!("{{\"keys\": {}", "[".repeat(100_000));
        assert!(serde_json::from_str::<Batch<'_>>(&nested).is_err());
    }

    #[test]
    fn a_key_of_columns_names_as_many_as_there_are() {
        let key = || Key::Columns(vec!["a".into(), "b".into()]);
        assert_eq!(key().stored(Some(2)).unwrap(), "a|b");
        assert!(key().stored(Some(3)).is_err());
        assert_eq!(Key::Text("a|b".into()).stored(Some(2)).unwrap(), "a|b");
    }

    proptest! {
        #[test]
        fn any_key_survives_the_path(key in any::<String>()) {
            let path: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(unescaped(&path).unwrap(), key);
        }

        #[test]
        fn any_path_is_read_or_refused(path in any::<String>()) {
            let _ = unescaped(&path);
        }
    }
}
