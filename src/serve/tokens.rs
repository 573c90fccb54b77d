//! Who may ask: whoever sends one of the tokens as `Authorization: Bearer TOKEN`.
//!
//! Several tokens count at once, so that one can be taken out of use after its successor is everywhere. They are
//! kept as hashes and compared in constant time, all of them for each request; none is ever shown.

use crate::error::{Error, Result};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use std::path::Path;
use subtle::{Choice, ConstantTimeEq};

/// A token must not be guessed: 16 characters of chance are as good as none to guess.
const SHORTEST: usize = 16;

/// More of them are a mistake, and each costs a comparison a request.
const MOST: usize = 100;

/// The tokens that are valid, as hashes.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// The tokens in a text: one a line, or parted by blanks; a line that begins with `#` is a comment.
    ///
    /// # Errors
    /// Usage: none, too many, or one that is too short or has characters that no header may have.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let tokens: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        if !(1..=MOST).contains(&tokens.len()) {
            return Err(Error::usage("these are no tokens")
                .with("tokens", tokens.len())
                .hint("give at least one, for example the output of `openssl rand -hex 32`"));
        }
        let shortest = tokens.iter().map(|token| token.len()).min().unwrap_or_default();
        if shortest < SHORTEST {
            return Err(Error::usage("a token is too short: it could be guessed")
                .with("characters", shortest)
                .hint(format!("give at least {SHORTEST}, for example the output of `openssl rand -hex 32`")));
        }
        if !tokens.iter().all(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::usage("a token has characters that no header may have")
                .hint("use letters and digits, for example the output of `openssl rand -hex 32`"));
        }
        Ok(Self(tokens.into_iter().map(hash).collect()))
    }

    /// The tokens in a file.
    ///
    /// # Errors
    /// Usage: a file that can't be read, or as [`Tokens::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| {
            Error::usage("the file of the tokens cannot be read").with("file", path.display()).because(source)
        })?;
        Self::parse(&text).map_err(|error| error.with("file", path.display()))
    }

    /// Whether a request has one of them. How long it takes tells nothing about them.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else { return false };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return false;
        }
        let asked = hash(token.trim());
        let known = self.0.iter().fold(Choice::from(0), |known, token| known | token.ct_eq(&asked));
        known.into()
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210-new";

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn any_of_the_tokens_is_let_in_and_nothing_else() {
        let tokens = Tokens::parse(&format!("# rotated in May\n{OLD}\n\n  {NEW}  \n")).unwrap();
        for good in [format!("Bearer {OLD}"), format!("bearer {NEW}"), format!("BEARER  {NEW} ")] {
            assert!(tokens.admit(&with(&good)), "{good}");
        }
        let cases = [
            "",
            "Bearer",
            "Bearer ",
            OLD,
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeff",
        ];
        for bad in cases {
            assert!(!tokens.admit(&with(bad)), "{bad}");
        }
        assert!(!tokens.admit(&HeaderMap::new()));
        let mut twice = with(&format!("Bearer {OLD}"));
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        assert!(!tokens.admit(&twice));
    }

    #[test]
    fn tokens_that_protect_nothing_are_refused_and_not_shown() {
        for text in
            ["", "# only a comment\n", "short-secret", "0123456789abcde\u{e9}f", &"0123456789abcdef ".repeat(101)]
        {
            let error = Tokens::parse(text).err().unwrap_or_else(|| panic!("{text}"));
            let shown = format!("{error:?}");
            assert!(!shown.contains("short-secret") && !shown.contains("0123456789"), "{shown}");
        }
    }
}
