//! What went wrong at S3, without anything that must not be told.
//!
//! The library's errors carry URLs, and bodies of answers in which servers repeat access keys, the
//! text that was signed and session tokens. Nothing of that gets past [`clean`]: a [`Failure`] keeps
//! the status, the server's code word and the system's last word, and says what to do.

use crate::error::ErrorKind;
use crate::lake::errors::LATER;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use object_store::Error as Store;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error as StdError;
use std::fmt;

/// Why S3 did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    trouble: Trouble,
    /// Status and code of the answer, or the system's words. Never a body, never a URL.
    detail: String,
}

const BROKEN: &str = "the connection broke";
const CUT: &str = "the answer was cut off";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Busy,
    Absent,
    Condition,
    Refused,
    Credentials,
    Expired,
    Clock,
    Bucket,
    Region,
    Certificate,
    Identity,
    Other,
}

impl StdError for Failure {}

impl Failure {
    /// Stands in the text of every failure that a later try may not meet.
    pub const TRANSIENT: &'static str = "(transient)";

    /// Throttled, out of reach, or broken in itself.
    pub fn busy(detail: &str) -> Self {
        Self { trouble: Trouble::Busy, detail: detail.to_owned() }
    }

    /// No credentials came from `whose`.
    pub fn no_identity(whose: &str) -> Self {
        Self { trouble: Trouble::Identity, detail: whose.to_owned() }
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        match self.trouble {
            Trouble::Busy => ErrorKind::Transient,
            Trouble::Condition => ErrorKind::Conflict,
            _ => ErrorKind::Failed,
        }
    }

    /// What to do.
    pub fn hint(&self) -> String {
        let hint = match self.trouble {
            Trouble::Busy => LATER,
            Trouble::Absent => "nothing lies there",
            Trouble::Condition => "somebody else has changed it meanwhile: run the command again",
            Trouble::Refused => "`lakemill doctor JOB` tells which identity is used; give it the right to do this",
            Trouble::Credentials => {
                "check the access key and its secret; `lakemill doctor JOB` tells where they come from"
            }
            Trouble::Expired => "renew the session (log in again), then run the same command",
            Trouble::Clock => "set the clock of this machine",
            Trouble::Bucket => "check the bucket's name and the endpoint; lakemill does not create buckets",
            Trouble::Region => "set AWS_REGION to the region of the bucket",
            Trouble::Certificate => "the endpoint's certificate is not one that this system trusts",
            Trouble::Identity => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; `lakemill doctor JOB` tells which is used"
            }
            Trouble::Other => "`lakemill doctor JOB` tells what this place allows",
        };
        hint.to_owned()
    }

    /// From the status and the body of an answer.
    fn of_answer(status: u16, body: &str) -> Self {
        let code = word(between(body, "<Code>", "</Code>"));
        let trouble = match (status, code.as_str()) {
            (_, "NoSuchBucket") => Trouble::Bucket,
            (_, "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired") => Trouble::Expired,
            (_, "RequestTimeTooSkewed" | "RequestExpired") => Trouble::Clock,
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "UnrecognizedClientException") => Trouble::Credentials,
            (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")
            | (301 | 307 | 308, _) => Trouble::Region,
            (_, "ConditionalRequestConflict" | "OperationAborted") => Trouble::Busy,
            (_, "SlowDown" | "InternalError" | "RequestTimeout" | "ServiceUnavailable" | "Throttling") => Trouble::Busy,
            (408 | 425 | 429 | 500.., _) => Trouble::Busy,
            (401, _) => Trouble::Credentials,
            (403, _) => Trouble::Refused,
            (404, _) => Trouble::Absent,
            (304 | 409 | 412, _) => Trouble::Condition,
            _ => Trouble::Other,
        };
        let region = word(between(body, "<Region>", "</Region>"));
        let region = if trouble == Trouble::Region && !region.is_empty() {
            format!(", the bucket is in {region}")
        } else {
            String::new()
        };
        let skew = if trouble == Trouble::Clock { skew(body) } else { None };
        Self { trouble, detail: format!("{status} {code}").trim_end().to_owned() + &region + &skew.unwrap_or_default() }
    }

    /// From what happened to a connection.
    fn of_http(error: &HttpError) -> Self {
        let last = last_words(error);
        let lower = last.to_lowercase();
        if lower.contains("certificate") {
            return Self { trouble: Trouble::Certificate, detail: last };
        }
        let what = match error.kind() {
            HttpErrorKind::Connect => "no connection",
            HttpErrorKind::Timeout => "no answer in time",
            HttpErrorKind::Interrupted | HttpErrorKind::Request => BROKEN,
            // A body that ends too early is a decoding error to the client.
            _ => CUT,
        };
        Self::busy(&format!("{what}: {last}"))
    }

    /// The deepest cause that says something.
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(failure) = cause.downcast_ref::<Self>() {
                return failure.clone();
            }
            if let Some(http) = cause.downcast_ref::<HttpError>() {
                return Self::of_http(http);
            }
            let text = cause.to_string();
            if let Some(answer) = text.strip_prefix("Server returned non-2xx status code: ") {
                let status = answer.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or_default();
                return Self::of_answer(status, answer);
            }
            if let Some(body) = text.strip_prefix("Server returned error response: ") {
                return Self::of_answer(500, body);
            }
            if text.starts_with("Received redirect without LOCATION") {
                return Self::of_answer(301, "");
            }
            next = cause.source();
        }
        Self { trouble: Trouble::Other, detail: last_words(error) }
    }

    /// Whether an error is that of a connection that broke during an answer.
    pub(super) fn is_cut(error: &Store) -> bool {
        let failure = Self::of(error);
        failure.is_busy() && [BROKEN, CUT].iter().any(|what| failure.detail.starts_with(what))
    }

    /// Whether the server refused because of another request that was under way.
    fn is_busy(&self) -> bool {
        self.trouble == Trouble::Busy
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.trouble {
            Trouble::Busy => "the store is busy or out of reach (transient)",
            Trouble::Absent => "there is no such object",
            Trouble::Condition => "the object is not as expected",
            Trouble::Refused => "the store refuses this to the identity in use",
            Trouble::Credentials => "the store does not accept the credentials",
            Trouble::Expired => "the session of the credentials has ended",
            Trouble::Clock => "the clocks of this machine and of the store differ too much",
            Trouble::Bucket => "there is no such bucket",
            Trouble::Region => "the bucket is in another region",
            Trouble::Certificate => "the store's certificate is not trusted",
            Trouble::Identity => "there are no credentials",
            Trouble::Other => "the store failed",
        };
        write!(out, "{what}: {}", self.detail)
    }
}

/// The same error of the library without URLs, bodies and keys; what callers branch on stays.
pub(super) fn clean(error: Store) -> Store {
    match error {
        Store::NotSupported { .. }
        | Store::NotImplemented { .. }
        | Store::InvalidPath { .. }
        | Store::JoinError { .. }
        | Store::UnknownConfigurationKey { .. } => error,
        Store::NotFound { path, source } => {
            let failure = Failure::of(source.as_ref());
            match failure.trouble {
                Trouble::Bucket => generic(failure),
                _ => Store::NotFound { path, source: failure.into() },
            }
        }
        Store::AlreadyExists { path, source } => {
            let failure = Failure::of(source.as_ref());
            if failure.is_busy() { generic(failure) } else { Store::AlreadyExists { path, source: failure.into() } }
        }
        Store::Precondition { path, source } => {
            Store::Precondition { path, source: Failure::of(source.as_ref()).into() }
        }
        Store::NotModified { path, source } => Store::NotModified { path, source: Failure::of(source.as_ref()).into() },
        Store::PermissionDenied { path, source } => {
            Store::PermissionDenied { path, source: Failure::of(source.as_ref()).into() }
        }
        Store::Unauthenticated { path, source } => {
            Store::Unauthenticated { path, source: Failure::of(source.as_ref()).into() }
        }
        other => generic(Failure::of(&other)),
    }
}

/// A failure as an error of the library.
pub(super) fn generic(failure: Failure) -> Store {
    Store::Generic { store: "S3", source: failure.into() }
}

/// What the innermost cause says, on one line and not long.
fn last_words(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    // A URL or XML in it would be a request or an answer again.
    if text.contains("://") || text.contains('<') {
        return "the library gives no more".to_owned();
    }
    text.chars().filter(|next| !next.is_control()).take(200).collect()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).and_then(|(_, tail)| tail.split_once(after)).map_or("", |(found, _)| found)
}

/// How far this machine's clock is from the server's, where the answer holds both.
fn skew(body: &str) -> Option<String> {
    let asked =
        NaiveDateTime::parse_from_str(between(body, "<RequestTime>", "</RequestTime>"), "%Y%m%dT%H%M%SZ").ok()?;
    let server = between(body, "<ServerTime>", "</ServerTime>").parse::<DateTime<Utc>>().ok()?;
    Some(format!(", this machine's clock is {}", clock_offset(asked.and_utc() - server)))
}

/// `21 min 30 s ahead`, of a clock that shows so much more than another.
pub fn clock_offset(more: TimeDelta) -> String {
    let (seconds, side) =
        (more.num_seconds().unsigned_abs(), if more < TimeDelta::zero() { "behind" } else { "ahead" });
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s {side}"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s {side}"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min {side}"),
        (days, hours, ..) => format!("{days} d {hours} h {side}"),
    }
}

/// A code word of the server: letters, digits, `-` and `.`, or nothing.
fn word(text: &str) -> String {
    let plain = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if plain { text.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::errors::{hint_of_causes, kind_of_causes};

    fn answer(status: u16, body: &str) -> Store {
        let text = format!("Server returned non-2xx status code: {status} Some Words: {body}");
        generic_text(text)
    }

    fn generic_text(text: String) -> Store {
        Store::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn a_body_with_keys_is_reduced_to_its_code() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIASECRET</AWSAccessKeyId>\
                    <StringToSign>x-amz-security-token:SECRET</StringToSign></Error>";
        let error = clean(answer(403, body));
        let told = format!("{error} {error:?}");
        assert!(!told.contains("SECRET"), "{told}");
        assert!(told.contains("403 SignatureDoesNotMatch"), "{told}");
        assert_eq!(kind_of_causes(&error), ErrorKind::Failed);
        assert!(hint_of_causes(&error).unwrap().contains("secret"));
        let odd = clean(answer(400, "<Code>https://x?token=SECRET</Code>"));
        assert!(!format!("{odd:?}").contains("SECRET"));
        let url = clean(generic_text("could not GET http://h/b?X-Amz-Signature=SECRET".to_owned()));
        assert!(!format!("{url:?}").contains("SECRET"));
    }

    #[test]
    fn each_answer_says_who_must_act() {
        for (status, code, kind, hint) in [
            (503, "SlowDown", ErrorKind::Transient, "later"),
            (500, "", ErrorKind::Transient, "later"),
            (429, "", ErrorKind::Transient, "later"),
            (409, "ConditionalRequestConflict", ErrorKind::Transient, "later"),
            (403, "AccessDenied", ErrorKind::Failed, "identity"),
            (403, "InvalidAccessKeyId", ErrorKind::Failed, "secret"),
            (400, "ExpiredToken", ErrorKind::Failed, "renew"),
            (403, "RequestTimeTooSkewed", ErrorKind::Failed, "clock"),
            (404, "NoSuchBucket", ErrorKind::Failed, "bucket"),
            (301, "PermanentRedirect", ErrorKind::Failed, "AWS_REGION"),
            (400, "AuthorizationHeaderMalformed", ErrorKind::Failed, "AWS_REGION"),
        ] {
            let error = clean(answer(status, &format!("<Code>{code}</Code><Region>eu-west-1</Region>")));
            assert_eq!(kind_of_causes(&error), kind, "{status} {code}");
            assert!(hint_of_causes(&error).unwrap().contains(hint), "{status} {code}: {error}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_with_its_error() {
        let of = |asked: &str, server: &str| {
            let body = format!("<RequestTime>{asked}</RequestTime><ServerTime>{server}</ServerTime>");
            clean(answer(403, &format!("<Code>RequestTimeTooSkewed</Code>{body}"))).to_string()
        };
        assert!(of("20260102T030000Z", "2026-01-02T03:21:05Z").contains("clock is 21 min 5 s behind"));
        assert!(of("20260102T060000Z", "2026-01-02T03:59:00Z").contains("clock is 2 h 1 min ahead"));
        assert!(of("20270102T030000Z", "2026-01-02T02:00:00Z").contains("clock is 365 d 1 h ahead"));
        assert!(!of("now", "2026-01-02T02:00:00Z").contains("this machine's clock"));
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        let source = || Box::new(answer(404, "<Code>NoSuchBucket</Code>"));
        let error = clean(Store::NotFound { path: "x".into(), source: source() });
        assert!(matches!(error, Store::Generic { .. }) && error.to_string().contains("bucket"), "{error}");
        let source = Box::new(answer(404, "<Code>NoSuchKey</Code>"));
        assert!(matches!(clean(Store::NotFound { path: "x".into(), source }), Store::NotFound { .. }));
    }
}
