//! JSON as XGBoost writes it: with `NaN` and `Infinity`, which JSON itself does not know.

use super::damaged;
use super::document::{DEEPEST, Document, ListBuilder, MOST_VALUES};
use crate::error::{Error, Result};

/// The value that the bytes are.
///
/// # Errors
/// Check: bytes that are no JSON, with the place; values that lie too deep within each other.
pub(super) fn parse(bytes: &[u8]) -> Result<Document> {
    let text = std::str::from_utf8(bytes).map_err(|source| damaged("it is not UTF-8").because(source))?;
    let mut reader = Reader { text, at: 0, made: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() { Err(reader.wrong("something follows the end")) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// How many values there are that are not packed.
    made: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> Error {
        damaged(format!("it is no JSON: {what}")).with("byte", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Takes the byte, if it is next behind white space.
    fn took(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.took(byte) { Ok(()) } else { Err(self.wrong(&format!("`{}` is missing", byte as char))) }
    }

    fn value(&mut self, depth: usize) -> Result<Document> {
        if depth > DEEPEST {
            return Err(self.wrong("its values lie too deep within each other"));
        }
        if self.made > MOST_VALUES {
            return Err(self.wrong("it has too many values"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Document::Text),
            Some(_) => self.word(),
            None => Err(self.wrong("it is cut off")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Document> {
        self.at += 1;
        let mut members = Vec::new();
        if self.took(b'}') {
            return Ok(Document::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.expect(b':')?;
            members.push((key, self.value(depth + 1)?));
            self.made += 1;
            if !self.took(b',') {
                self.expect(b'}')?;
                return Ok(Document::Object(members));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Document> {
        self.at += 1;
        let mut list = ListBuilder::new();
        if self.took(b']') {
            return Ok(list.finish());
        }
        loop {
            list.push(self.value(depth + 1)?);
            self.made += usize::from(!list.is_packed());
            if !self.took(b',') {
                self.expect(b']')?;
                return Ok(list.finish());
            }
        }
    }

    /// A string with its escapes; serde_json knows them all.
    fn string(&mut self) -> Result<String> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a string is missing"));
        }
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
                None => return Err(self.wrong("a string is cut off")),
            }
        }
        self.at = end + 1;
        let whole = self.text.get(start..=end).unwrap_or_default();
        serde_json::from_str(whole).map_err(|_| self.wrong("a string has a wrong escape"))
    }

    fn word(&mut self) -> Result<Document> {
        let rest = &self.text[self.at..];
        let length = rest.find(|next: char| !(next.is_ascii_alphanumeric() || "+-.".contains(next)));
        let word = &rest[..length.unwrap_or(rest.len())];
        let value = match word {
            "null" => Document::Null,
            "true" => Document::Boolean(true),
            "false" => Document::Boolean(false),
            "NaN" => Document::Number(f64::NAN),
            "Infinity" => Document::Number(f64::INFINITY),
            "-Infinity" => Document::Number(f64::NEG_INFINITY),
            _ if word.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
                Document::Number(word.parse().map_err(|_| self.wrong("a number is malformed"))?)
            }
            _ => return Err(self.wrong("a value is missing")),
        };
        self.at += word.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_lists_of_numbers_packed() {
        let document =
            parse(br#" {"a":[1,-2.5E1,true,NaN],"b":["x\n",1],"c":{"d":null,"e":[]},"f":-Infinity} "#).unwrap();
        let numbers = document.numbers("a").unwrap();
        assert_eq!(numbers[..3], [1.0, -25.0, 1.0]);
        assert!(numbers[3].is_nan());
        assert_eq!(document.list("b").unwrap(), [Document::Text("x\n".to_owned()), Document::Number(1.0)]);
        assert_eq!(document.need("c").unwrap().list("e").unwrap(), []);
        assert_eq!(document.get("f"), Some(&Document::Number(f64::NEG_INFINITY)));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "[1,]", "{\"a\" 1}", "{\"a\":1}x", "\"\\", "\"\\q\"", "1e", "nul", "[1 2]", &deep, "\"ä"]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text:.20}");
        }
        assert!(parse(b"\xff").is_err());
    }
}
