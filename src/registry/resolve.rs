//! From what a user writes to a version, and what is said where there is none.

use super::aliases::{AliasRecord, check_alias};
use super::versions::Registry;
use crate::error::{Error, Result, did_you_mean};

/// The aliases that every model is expected to have one day.
const USUAL: [&str; 2] = ["champion", "challenger"];
/// Not an alias: always the highest number.
pub(super) const LATEST: &str = "latest";

impl Registry {
    /// The version that `reference` means: `champion` or another alias, `latest`, or a number (`7`,
    /// `000007`).
    ///
    /// # Errors
    /// `usage` for a model, version or alias that does not exist, with what there is instead; `verification`
    /// for an alias that means a version that does not exist.
    pub async fn resolve(&self, model: &str, reference: &str) -> Result<u64> {
        let numbers = self.numbers(model).await?;
        if numbers.is_empty() {
            let named = check_alias(reference).is_ok();
            return match if named { self.alias(model, reference).await? } else { None } {
                Some(record) => self.known_version(&record).await,
                None => Err(self.no_such_model(model).await?),
            };
        }
        if !reference.is_empty() && reference.bytes().all(|byte| byte.is_ascii_digit()) {
            let version = reference.parse().unwrap_or(u64::MAX);
            return if numbers.contains(&version) { Ok(version) } else { Err(missing(model, reference, &numbers)) };
        }
        if reference == LATEST {
            return numbers.last().copied().ok_or_else(|| missing(model, reference, &numbers));
        }
        let named = check_alias(reference);
        if named.is_ok()
            && let Some(record) = self.alias(model, reference).await?
        {
            return self.known_version(&record).await;
        }
        let set = self.alias_names(model).await?;
        let not_set = Error::usage("the alias is not set yet").with("alias", reference).with("model", model);
        match reference {
            "champion" => {
                let versions = spans(&numbers);
                let hint = format!("`lakemill promote {model} VERSION` sets it; versions are {versions}");
                return Err(not_set.hint(hint));
            }
            "challenger" => return Err(not_set.hint("`lakemill train` sets it to the version that it makes")),
            _ => {}
        }
        let known = set.iter().map(String::as_str).chain(USUAL).chain([LATEST]);
        let hint = match did_you_mean(reference, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let mut names: Vec<&str> = known.collect();
                names.sort_unstable();
                names.dedup();
                format!("write one of {}, or a version: {}", names.join(", "), spans(&numbers))
            }
        };
        Err(named.err().unwrap_or(not_set).hint(hint))
    }

    /// The version that an alias means, which must exist: an alias is only ever set to a version that can be loaded.
    ///
    /// # Errors
    /// `verification` where the version is not there; what the store fails with.
    pub async fn known_version(&self, record: &AliasRecord) -> Result<u64> {
        let numbers = self.numbers(&record.model).await?;
        if numbers.contains(&record.version) {
            return Ok(record.version);
        }
        let (model, version) = (&record.model, record.version);
        let there = match numbers.as_slice() {
            [] => "no version is left".to_owned(),
            numbers => format!("`lakemill promote {model} VERSION` names another; versions are {}", spans(numbers)),
        };
        Err(Error::verification("the alias means a version that is not there")
            .with("version", version)
            .with("alias", &record.alias)
            .with("model", model)
            .hint(format!("restore models/{model}/versions/{version:06} from a backup; {there}")))
    }

    /// The numbers of a model that must exist.
    pub(super) async fn known_numbers(&self, model: &str) -> Result<Vec<u64>> {
        let numbers = self.numbers(model).await?;
        if numbers.is_empty() { Err(self.no_such_model(model).await?) } else { Ok(numbers) }
    }

    /// Says that the version does not exist, or the model.
    pub(super) async fn no_such_version(&self, model: &str, version: u64) -> Result<Error> {
        let numbers = self.numbers(model).await?;
        if numbers.is_empty() {
            return self.no_such_model(model).await;
        }
        Ok(missing(model, &version.to_string(), &numbers))
    }

    async fn no_such_model(&self, model: &str) -> Result<Error> {
        let models = self.models().await?;
        let hint = match did_you_mean(model, models.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if models.is_empty() => {
                "no model is registered under this home; `lakemill train` makes one".to_owned()
            }
            None => format!("models are {}", models.join(", ")),
        };
        Ok(Error::usage("there is no such model").with("model", model).hint(hint))
    }
}

fn missing(model: &str, version: &str, numbers: &[u64]) -> Error {
    Error::usage("the model has no such version")
        .with("version", version)
        .with("model", model)
        .hint(format!("versions are {}", spans(numbers)))
}

/// `1 to 3, 7`: ascending numbers in few words.
fn spans(numbers: &[u64]) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => spans.push((*number, *number)),
        }
    }
    let words: Vec<String> = spans
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first} to {last}") })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_spans() {
        assert_eq!(spans(&[1]), "1");
        assert_eq!(spans(&[1, 2, 3, 7, 9, 10]), "1 to 3, 7, 9 to 10");
    }
}
