//! The one error of the house.
//!
//! An [`Error`] tells *who must act* ([`ErrorKind`], which also fixes the exit code), *what* went
//! wrong (a lower-case fragment without a full stop), *where* (context pairs), *what to do* (a hint)
//! and *why* (the source). Where a caller needs to branch, it branches on the kind and on nothing else.

use std::error::Error as StdError;
use std::fmt;

/// The result of everything in lakemill that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act; each kind is one exit code and one word in a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The run failed for a reason that no other kind names.
    Failed,
    /// The command line or the job file is wrong; the caller must change it.
    Usage,
    /// The data is not what the job says it is.
    Check,
    /// No input row was selected.
    Empty,
    /// A gate was not passed, or the comparison was inconclusive.
    Gate,
    /// Drift is over its limit.
    Drift,
    /// Someone else holds or has moved what this run wanted to change.
    Conflict,
    /// Memory, bytes or time would go over the budget.
    Budget,
    /// A verification or a replay found something other than what is recorded.
    Verification,
    /// The network or a store failed in a way that a later try may not.
    Transient,
    /// The user interrupted the run (SIGINT).
    Interrupted,
    /// The run was told to stop (SIGTERM).
    Terminated,
}

impl ErrorKind {
    /// The exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Check => 3,
            Self::Empty => 4,
            Self::Gate => 5,
            Self::Drift => 6,
            Self::Conflict => 7,
            Self::Budget => 8,
            Self::Verification => 9,
            Self::Transient => 75,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The word that stands for the kind in receipts (`error.code`).
    pub const fn code(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Check => "check",
            Self::Empty => "empty",
            Self::Gate => "gate",
            Self::Drift => "drift",
            Self::Conflict => "conflict",
            Self::Budget => "budget",
            Self::Verification => "verification",
            Self::Transient => "transient",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }
}

/// What went wrong, where, and what to do about it. One pointer wide.
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is a lower-case fragment without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, message: message.into(), context: Vec::new(), hint: None, source: None }))
    }

    /// The run failed for a reason that no other kind names.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// The command line or the job file is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// The data is not what the job says it is.
    pub fn check(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Check, message)
    }

    /// Someone else holds or has moved what this run wanted to change.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// What is stored is not what was recorded.
    pub fn verification(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Verification, message)
    }

    /// Adds where it happened, for example `("column", "tx_amount")`; the outermost place comes last.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Adds `first` to a number among the places, which was counted within a part that begins there.
    #[must_use]
    pub fn counted_from(mut self, key: &'static str, first: usize) -> Self {
        for (_, value) in self.0.context.iter_mut().filter(|(known, _)| *known == key) {
            if let Ok(number) = value.parse::<usize>() {
                *value = (number + first).to_string();
            }
        }
        self
    }

    /// Says what the user can do; a second hint replaces the first.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error of a library as the reason.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error under another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What went wrong, without place, hint or reason.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it happened, innermost first.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// What the user can do.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The reasons below this error, outermost first, each said once.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !causes.iter().any(|seen| seen.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.message)?;
        if !self.0.context.is_empty() {
            let places: Vec<String> = self.0.context.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            write!(out, " ({})", places.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {self}", self.0.kind.code())?;
        for cause in self.causes() {
            write!(out, "; because {cause}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(out, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Puts a place onto an error on its way up.
pub trait ResultExt<T> {
    /// Adds a context pair to the error, if there is one.
    fn at(self, key: &'static str, value: impl fmt::Display) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn at(self, key: &'static str, value: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.with(key, value))
    }
}

/// From this Jaro-Winkler similarity on, a name is offered as the one that was meant. It takes in a letter too many,
/// too few, wrong or swapped, also in names of three letters, and the beginning of a name; the test below has the pairs.
const NEAR: f64 = 0.86;

/// The name among `known` that `word` was most likely meant to be, if one is near enough.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_message_and_places_but_no_hint() {
        let error = Error::usage("unknown column").with("column", "amout").hint("did you mean `amount`?");
        assert_eq!(error.to_string(), "unknown column (column = amout)");
        assert_eq!(error.hint_text(), Some("did you mean `amount`?"));
    }

    #[test]
    fn a_row_of_a_part_is_told_as_one_of_the_whole() {
        let error = Error::check("null").with("column", "7").with("row", 3).counted_from("row", 100);
        assert_eq!(error.to_string(), "null (column = 7, row = 103)");
    }

    #[test]
    fn causes_are_told_once() {
        let inner = Error::failed("disk full");
        let error = Error::failed("could not write").because(inner);
        assert_eq!(error.causes(), ["disk full"]);
    }

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let known = ["roc_auc", "log_loss", "brier"];
        assert_eq!(did_you_mean("roc_acu", known), Some("roc_auc"));
        assert_eq!(did_you_mean("zzz", known), None);
    }

    #[test]
    fn slips_of_the_keyboard_are_near_and_other_words_are_not() {
        let slips = [
            ("roc_acu", "roc_auc"),
            ("rocauc", "roc_auc"),
            ("logistic_regresion", "logistic_regression"),
            ("logistic", "logistic_regression"),
            ("random forest", "random_forest"),
            ("RandomForest", "random_forest"),
            ("n_trees", "trees"),
            ("tree", "trees"),
            ("passthru", "passthrough"),
            ("champoin", "champion"),
            ("challanger", "challenger"),
            ("rsik", "risk"),
            ("sed", "seed"),
            ("sead", "seed"),
            ("hom", "home"),
            ("labl", "label"),
            ("algo", "algorithm"),
            ("tx_amuont", "tx_amount"),
            ("amount", "tx_amount"),
            ("TX_AMOUNT", "tx_amount"),
            ("tx_amount", "TX_Amount"),
            ("custmer_id", "customer_id"),
            ("customerid", "customer_id"),
            ("interval_stop", "interval_end"),
            ("brier_score", "brier"),
            ("s3a", "s3"),
        ];
        for (word, name) in slips {
            assert_eq!(did_you_mean(word, [name]), Some(name), "{word}");
        }
        let others = [
            ("weather", "risk"),
            ("shadow", "champion"),
            ("champion", "challenger"),
            ("challenge", "champion"),
            ("terminals", "transactions"),
            ("merchant_id", "customer_id"),
            ("terminal_id", "transaction_id"),
            ("segment", "seed"),
            ("spend", "segment"),
            ("threshold", "trees"),
            ("linear_regression", "logistic_regression"),
            ("gradient_boosting", "random_forest"),
            ("max_depth", "max_features"),
            ("label", "table"),
            ("interval", "intercept"),
            ("latest", "label"),
            ("price", "prior"),
            ("mae", "rmse"),
            ("recall", "precision"),
            ("tx_time", "tx_amount"),
            ("", "seed"),
        ];
        for (word, name) in others {
            assert_eq!(did_you_mean(word, [name]), None, "{word}");
        }
        assert_eq!(did_you_mean("roc_acu", ["rock", "roc_auc", "accuracy"]), Some("roc_auc"), "the nearest of several");
    }
}
