//! What went wrong at a bucket, without anything that must not be told.
//!
//! The library's errors carry URLs (with Azure's SAS tokens in them), and bodies of answers in which servers
//! repeat access keys, the text that was signed and session tokens. Nothing of that gets past [`clean`]: a
//! [`Failure`] keeps the status, the server's code word and the system's last word, and says what to do.

use super::Cloud;
use crate::error::ErrorKind;
use crate::lake::errors::LATER;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use object_store::Error as Store;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error as StdError;
use std::fmt;

/// Why a bucket did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    cloud: Cloud,
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
    pub(in crate::lake) fn busy(cloud: Cloud, detail: &str) -> Self {
        Self { cloud, trouble: Trouble::Busy, detail: detail.to_owned() }
    }

    /// No credentials came from `whose`.
    pub(in crate::lake) fn no_identity(cloud: Cloud, whose: &str) -> Self {
        Self { cloud, trouble: Trouble::Identity, detail: whose.to_owned() }
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
            Trouble::Credentials => match self.cloud {
                Cloud::S3 => "check the access key and its secret; `lakemill doctor JOB` tells where they come from",
                Cloud::Gcs => "check the service account and its key; `lakemill doctor JOB` tells where it comes from",
                Cloud::Azure => {
                    "check the account's key, the SAS token or the identity; `lakemill doctor JOB` tells which is used"
                }
            },
            Trouble::Expired => "renew the session (log in again), then run the same command",
            Trouble::Clock => "set the clock of this machine",
            Trouble::Bucket => match self.cloud {
                Cloud::Azure => "check the container's name and the account; lakemill does not create containers",
                _ => "check the bucket's name and the endpoint; lakemill does not create buckets",
            },
            Trouble::Region => match self.cloud {
                Cloud::S3 => "set AWS_REGION to the region of the bucket",
                _ => "check the endpoint",
            },
            Trouble::Certificate => "the endpoint's certificate is not one that this system trusts",
            Trouble::Identity => match self.cloud {
                Cloud::S3 => {
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; `lakemill doctor JOB` tells which is used"
                }
                Cloud::Gcs => {
                    "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account; `lakemill doctor JOB` tells which is used"
                }
                Cloud::Azure => {
                    "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or give the machine an identity; `lakemill doctor JOB` tells which is used"
                }
            },
            Trouble::Other => "`lakemill doctor JOB` tells what this place allows",
        };
        hint.to_owned()
    }

    /// From the status and the body of an answer.
    fn of_answer(cloud: Cloud, status: u16, body: &str) -> Self {
        let code = word(between(body, "<Code>", "</Code>"));
        let trouble = match (status, code.as_str()) {
            (_, "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled") => {
                Trouble::Bucket
            }
            // Azure has one code for everything that is wrong with a signature, and tells more in its sentence.
            (403, "AuthenticationFailed") if body.contains("not valid in the specified time frame") => Trouble::Expired,
            (403, "AuthenticationFailed") if body.contains("ate header") => Trouble::Clock,
            (403, "AuthenticationFailed") => Trouble::Credentials,
            (409, "BlobImmutableDueToPolicy" | "PublicAccessNotPermitted" | "LeaseAlreadyPresent") => Trouble::Refused,
            (_, "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired") => Trouble::Expired,
            (_, "RequestTimeTooSkewed" | "RequestExpired") => Trouble::Clock,
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "UnrecognizedClientException") => Trouble::Credentials,
            (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")
            | (301 | 307 | 308, _) => Trouble::Region,
            (_, "ConditionalRequestConflict" | "OperationAborted") => Trouble::Busy,
            (
                _,
                "SlowDown" | "InternalError" | "RequestTimeout" | "ServiceUnavailable" | "Throttling" | "ServerBusy",
            ) => Trouble::Busy,
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
        let detail = format!("{status} {code}").trim_end().to_owned() + &region + &skew.unwrap_or_default();
        Self { cloud, trouble, detail }
    }

    /// From what happened to a connection.
    fn of_http(cloud: Cloud, error: &HttpError) -> Self {
        let last = last_words(error);
        let lower = last.to_lowercase();
        if lower.contains("certificate") {
            return Self { cloud, trouble: Trouble::Certificate, detail: last };
        }
        let what = match error.kind() {
            HttpErrorKind::Connect => "no connection",
            HttpErrorKind::Timeout => "no answer in time",
            HttpErrorKind::Interrupted | HttpErrorKind::Request => BROKEN,
            // A body that ends too early is a decoding error to the client.
            _ => CUT,
        };
        Self::busy(cloud, &format!("{what}: {last}"))
    }

    /// The deepest cause that says something.
    fn of(cloud: Cloud, error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(failure) = cause.downcast_ref::<Self>() {
                return failure.clone();
            }
            if let Some(http) = cause.downcast_ref::<HttpError>() {
                return Self::of_http(cloud, http);
            }
            let text = cause.to_string();
            if let Some(answer) = text.strip_prefix("Server returned non-2xx status code: ") {
                let status = answer.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or_default();
                return Self::of_answer(cloud, status, answer);
            }
            if let Some(body) = text.strip_prefix("Server returned error response: ") {
                return Self::of_answer(cloud, 500, body);
            }
            if let Some(status) = batched_status(&text) {
                return Self::of_answer(cloud, status, "");
            }
            // What the program said goes on behind this, and nobody knows what that holds.
            if text.starts_with("'az account get-access-token' command failed") {
                return Self::no_identity(cloud, "`az account get-access-token` failed");
            }
            if text.starts_with("Received redirect without LOCATION") {
                return Self::of_answer(cloud, 301, "");
            }
            next = cause.source();
        }
        Self { cloud, trouble: Trouble::Other, detail: last_words(error) }
    }

    /// Whether an error is that of a connection that broke during an answer.
    pub(super) fn is_cut(cloud: Cloud, error: &Store) -> bool {
        let failure = Self::of(cloud, error);
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
            Trouble::Bucket if self.cloud == Cloud::Azure => "there is no such container",
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
pub(in crate::lake) fn clean(cloud: Cloud, error: Store) -> Store {
    let of = |source: &(dyn StdError + 'static)| Failure::of(cloud, source);
    match error {
        Store::NotSupported { .. }
        | Store::NotImplemented { .. }
        | Store::InvalidPath { .. }
        | Store::JoinError { .. }
        | Store::UnknownConfigurationKey { .. } => error,
        Store::NotFound { path, source } => {
            let failure = of(source.as_ref());
            match failure.trouble {
                Trouble::Bucket => generic(failure),
                _ => Store::NotFound { path, source: failure.into() },
            }
        }
        Store::AlreadyExists { path, source } => {
            let failure = of(source.as_ref());
            match failure.trouble {
                // Whatever was in the way, it was no other writer's object.
                Trouble::Busy | Trouble::Bucket | Trouble::Refused => generic(failure),
                _ => Store::AlreadyExists { path, source: failure.into() },
            }
        }
        Store::Precondition { path, source } => Store::Precondition { path, source: of(source.as_ref()).into() },
        Store::NotModified { path, source } => Store::NotModified { path, source: of(source.as_ref()).into() },
        Store::PermissionDenied { path, source } => {
            Store::PermissionDenied { path, source: of(source.as_ref()).into() }
        }
        Store::Unauthenticated { path, source } => Store::Unauthenticated { path, source: of(source.as_ref()).into() },
        other => generic(of(&other)),
    }
}

/// A failure as an error of the library.
pub(in crate::lake) fn generic(failure: Failure) -> Store {
    Store::Generic { store: failure.cloud.name(), source: failure.into() }
}

/// The status of one object's removal within a batch of Azure's: `... for key x: reason (code: 503)`.
fn batched_status(text: &str) -> Option<u16> {
    let (_, status) = text.strip_prefix("Bulk delete request failed ")?.rsplit_once("(code: ")?;
    status.strip_suffix(')')?.parse().ok()
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
        let error = clean(Cloud::S3, answer(403, body));
        let told = format!("{error} {error:?}");
        assert!(!told.contains("SECRET"), "{told}");
        assert!(told.contains("403 SignatureDoesNotMatch"), "{told}");
        assert_eq!(kind_of_causes(&error), ErrorKind::Failed);
        assert!(hint_of_causes(&error).unwrap().contains("secret"));
        let odd = clean(Cloud::S3, answer(400, "<Code>https://x?token=SECRET</Code>"));
        assert!(!format!("{odd:?}").contains("SECRET"));
        let url = clean(Cloud::S3, generic_text("could not GET http://h/b?X-Amz-Signature=SECRET".to_owned()));
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
            let error = clean(Cloud::S3, answer(status, &format!("<Code>{code}</Code><Region>eu-west-1</Region>")));
            assert_eq!(kind_of_causes(&error), kind, "{status} {code}");
            assert!(hint_of_causes(&error).unwrap().contains(hint), "{status} {code}: {error}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_with_its_error() {
        let of = |asked: &str, server: &str| {
            let body = format!("<RequestTime>{asked}</RequestTime><ServerTime>{server}</ServerTime>");
            clean(Cloud::S3, answer(403, &format!("<Code>RequestTimeTooSkewed</Code>{body}"))).to_string()
        };
        assert!(of("20260102T030000Z", "2026-01-02T03:21:05Z").contains("clock is 21 min 5 s behind"));
        assert!(of("20260102T060000Z", "2026-01-02T03:59:00Z").contains("clock is 2 h 1 min ahead"));
        assert!(of("20270102T030000Z", "2026-01-02T02:00:00Z").contains("clock is 365 d 1 h ahead"));
        assert!(!of("now", "2026-01-02T02:00:00Z").contains("this machine's clock"));
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        let source = || Box::new(answer(404, "<Code>NoSuchBucket</Code>"));
        let error = clean(Cloud::S3, Store::NotFound { path: "x".into(), source: source() });
        assert!(matches!(error, Store::Generic { .. }) && error.to_string().contains("bucket"), "{error}");
        let source = Box::new(answer(404, "<Code>NoSuchKey</Code>"));
        assert!(matches!(clean(Cloud::S3, Store::NotFound { path: "x".into(), source }), Store::NotFound { .. }));
    }

    #[test]
    fn azures_answers_say_who_must_act() {
        let body = |code: &str, words: &str| format!("<Error><Code>{code}</Code><Message>{words}</Message></Error>");
        for (status, code, words, told) in [
            (403, "AuthenticationFailed", "Signature did not match. String to sign used was SECRET", "credentials"),
            (403, "AuthenticationFailed", "Signature not valid in the specified time frame: SECRET", "session"),
            (403, "AuthenticationFailed", "Request date header too old: 'SECRET'", "clocks"),
            (403, "AuthorizationPermissionMismatch", "SECRET", "refuses"),
            (404, "ContainerNotFound", "SECRET", "no such container"),
            (503, "ServerBusy", "SECRET", "(transient)"),
        ] {
            let error = clean(Cloud::Azure, answer(status, &body(code, words)));
            let text = format!("{error:?} {error}");
            assert!(text.contains(told) && !text.contains("SECRET"), "{code}: {text}");
        }
        // 409 is not always another writer.
        let conflict = |code: &str| {
            let source = Box::new(answer(409, &body(code, "")));
            clean(Cloud::Azure, Store::AlreadyExists { path: "x".into(), source })
        };
        assert!(matches!(conflict("BlobAlreadyExists"), Store::AlreadyExists { .. }));
        assert!(matches!(conflict("BlobImmutableDueToPolicy"), Store::Generic { .. }));
        assert!(matches!(conflict("ContainerBeingDeleted"), Store::Generic { .. }));
        let cli = clean(Cloud::Azure, generic_text("'az account get-access-token' command failed: SECRET".to_owned()));
        assert!(!format!("{cli:?} {cli}").contains("SECRET"), "{cli}");
        let batch = generic_text("Bulk delete request failed for key a/b: Busy (code: 503)".to_owned());
        assert_eq!(kind_of_causes(&clean(Cloud::Azure, batch)), ErrorKind::Transient);
    }
}
