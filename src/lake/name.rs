//! Names that become parts of paths.

use crate::error::{Error, Result};

/// Longer names meet the limits of file systems once suffixes are added.
const LONGEST: usize = 100;

/// Checks that `name` can be one part of a path on every store: letters, digits, `_`, `-` and `.`,
/// beginning with a letter or `_`. `what` says what is named, for example `model`.
///
/// # Errors
/// A usage error that says what is wrong.
pub fn check_name(what: &'static str, name: &str) -> Result<()> {
    let refuse = |why: String| Err(Error::usage(format!("not a name: {why}")).with(what, name.escape_debug()));
    let Some(first) = name.chars().next() else { return refuse("it is empty".to_owned()) };
    if name.len() > LONGEST {
        return refuse(format!("it is longer than {LONGEST} bytes"));
    }
    if let Some(wrong) = name.chars().find(|next| !(next.is_ascii_alphanumeric() || "_-.".contains(*next))) {
        return refuse(format!("{wrong:?} is neither a letter, a digit, `_`, `-` nor `.`"));
    }
    if !(first.is_ascii_alphabetic() || first == '_') {
        return refuse("it does not begin with a letter or `_`".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_plain_part_of_a_path() {
        for good in ["card_fraud", "a", "_x", "delay-15.v2", &"n".repeat(100)] {
            assert!(check_name("model", good).is_ok(), "{good}");
        }
        for bad in ["", "..", ".", "a/b", "../a", "7", "-x", ".hidden", "a b", "a\0", "ä", "a\\b", &"n".repeat(101)] {
            assert!(check_name("model", bad).is_err(), "{bad:?} was accepted");
        }
    }
}
