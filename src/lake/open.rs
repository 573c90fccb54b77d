//! From what the user wrote to a store, a path and a URL without secrets.
//!
//! To add a scheme: its name in [`SCHEMES`] and an arm in [`open`]. The arm gives the store whatever
//! credentials it needs and keeps none in the URL.

use super::bucket::{Identity, Opened};
use super::durable::DurableLocal;
use super::location::Location;
use super::{azure, gcs, s3};
use crate::error::{Error, Result, did_you_mean};
use object_store::path::Path as StorePath;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use url::Url;

const SCHEMES: &[&str] = &["file", "s3", "gs", "az", "abfss"];

/// The environment of this process.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The location that `text` names; a relative path is taken from `base`.
pub(super) fn open(text: &str, base: &Path) -> Result<Location> {
    if text.trim().is_empty() {
        return Err(Error::usage("a location is empty")
            .hint("write a path, file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"));
    }
    let Some((scheme, _)) = text.split_once("://") else {
        // The project of a job that lies in a bucket is that bucket.
        return match base.to_str().filter(|base| base.contains("://") && !text.starts_with('/')) {
            Some(base) => open(&format!("{}/{text}", base.trim_end_matches('/')), Path::new("/")),
            None => local(&base.join(text)),
        };
    };
    let place = |error: Error| error.with("location", shown(text));
    let url = Url::parse(text).map_err(|reason| place(Error::usage("the location is not a URL").because(reason)))?;
    match url.scheme() {
        "file" => local(&file_path(&url).map_err(place)?),
        // Hadoop's name for the same.
        "s3" | "s3a" => bucket(&url, &S3).map_err(place),
        "gs" | "gcs" => bucket(&url, &GCS).map_err(place),
        _ => match container(&url).map_err(place)? {
            Some(location) => Ok(location),
            None => Err(place(unknown(scheme, url.scheme()))),
        },
    }
}

fn unknown(written: &str, scheme: &str) -> Error {
    let hint = match did_you_mean(scheme, SCHEMES.iter().copied()) {
        Some(near) => format!("did you mean `{near}://`?"),
        None => format!("schemes are {}; a path without one is local", SCHEMES.join(", ")),
    };
    Error::usage("unknown scheme of a location").with("scheme", written).hint(hint)
}

/// `text` without userinfo, query and fragment; only the scheme where it cannot be parsed, since
/// then nobody knows which part is a password.
fn shown(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        let scheme = text.split("://").next().unwrap_or_default();
        return format!("{scheme}://...");
    };
    // Azure's containers stand where others have a user.
    if url.password().is_some() || !url.scheme().starts_with("abfs") {
        // Both fail only for URLs that cannot have them.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Who asks for what lies at `location`, and where; nothing for a local place.
///
/// # Errors
/// Usage: credentials or settings that are incomplete or contradict each other.
pub fn identity(location: &Location) -> Result<Option<Identity>> {
    let url = location.url();
    let opened = match (url.scheme(), url.host_str()) {
        ("s3", Some(bucket)) => s3::opened(bucket)?,
        ("gs", Some(bucket)) => gcs::opened(bucket)?,
        _ => match azure::Place::of(url, &environment)? {
            Some((place, _)) => azure::opened(&place)?,
            None => return Ok(None),
        },
    };
    Ok(Some(opened.identity.clone()))
}

/// A cloud whose locations are a bucket and a path.
struct Buckets {
    scheme: &'static str,
    open: fn(&str) -> Result<Arc<Opened>>,
    /// Where credentials belong.
    credentials: &'static str,
    /// Where the server's address belongs.
    endpoint: &'static str,
}

const S3: Buckets = Buckets {
    scheme: "s3",
    open: s3::opened,
    credentials: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    endpoint: "AWS_ENDPOINT_URL",
};

const GCS: Buckets = Buckets {
    scheme: "gs",
    open: gcs::opened,
    credentials: "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account",
    endpoint: "GOOGLE_BASE_URL",
};

fn bucket(url: &Url, cloud: &Buckets) -> Result<Location> {
    let Buckets { scheme, open, credentials, endpoint } = cloud;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage("credentials do not belong into a location").hint(*credentials));
    }
    if url.query().is_some() || url.fragment().is_some() || url.port().is_some() {
        return Err(Error::usage("a location in a bucket is the bucket and a path, and nothing else")
            .hint(format!("write {scheme}://bucket/path; the server's address goes into {endpoint}")));
    }
    let name = url.host_str().unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !(3..=255).contains(&name.len()) || !name.bytes().all(is_name) {
        return Err(Error::usage("this is not the name of a bucket").hint(format!("write {scheme}://bucket/path")));
    }
    within(format!("{scheme}://{name}"), url.path().trim_matches('/'), || open(name))
}

/// A container of Azure's; nothing where the URL is none.
fn container(url: &Url) -> Result<Option<Location>> {
    let Some((place, path)) = azure::Place::of(url, &environment)? else { return Ok(None) };
    within(format!("az://{}", place.name()), &path, || azure::opened(&place)).map(Some)
}

/// A path, as URLs write it, in what `root` names.
fn within(root: String, path: &str, opened: impl FnOnce() -> Result<Arc<Opened>>) -> Result<Location> {
    let within =
        StorePath::from_url_path(path).map_err(|reason| Error::usage("the path can't be used").because(reason))?;
    let plain = Url::parse(format!("{root}/{path}").trim_end_matches('/'))
        .map_err(|reason| Error::usage("the location is not a URL").because(reason))?;
    Ok(Location::with_store(plain, Arc::clone(&opened()?.store), within))
}

fn file_path(url: &Url) -> Result<PathBuf> {
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage("a file:// location is a path and nothing else")
            .hint("write `?` and `#` in a name as %3F and %23"));
    }
    url.to_file_path()
        .map_err(|()| Error::usage("a file:// location names another host").hint("write three slashes: file:///path"))
}

fn local(path: &Path) -> Result<Location> {
    let path = plain(path)?;
    let error = |what: &str| Error::usage(what.to_owned()).with("location", path.display());
    let url = Url::from_directory_path(&path).map_err(|()| error("the path is not absolute"))?;
    // The URL of a place never ends in a slash, so that a file and a folder are written alike.
    let url = Url::parse(url.as_str().trim_end_matches('/')).unwrap_or(url);
    let within =
        StorePath::from_url_path(url.path()).map_err(|reason| error("the path can't be used").because(reason))?;
    Ok(Location::with_store(url, Arc::new(DurableLocal::default()), within))
}

/// The path without `.` and `..`; what a `..` follows is resolved first, as it may be a link.
fn plain(path: &Path) -> Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain = plain.canonicalize().unwrap_or(plain);
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    if plain.is_absolute() {
        return Ok(plain);
    }
    std::path::absolute(&plain)
        .map_err(|reason| Error::usage("the path can't be used").with("location", path.display()).because(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        for text in [
            "s3://AKID:HIDDEN@bucket/p?token=HIDDEN#HIDDEN",
            "s3://AKID:HID/DEN@bucket:x",
            "s4://u:HIDDEN@h/p",
            "gs://AKID:HIDDEN@bucket/p",
            "abfss://lake:HIDDEN@acme.dfs.core.windows.net/p",
            "az://lake/p?sv=1&sig=HIDDEN",
            "https://acme.blob.core.windows.net/lake/p?sig=HIDDEN",
            "https://user:HIDDEN@example.com/p?x=HIDDEN",
        ] {
            let error = open(text, Path::new("/")).unwrap_err();
            let told = format!("{error:?}");
            assert!(!told.contains("HID") && !told.contains("AKID"), "{told}");
        }
    }

    #[test]
    fn unknown_schemes_are_refused_with_the_nearest() {
        let error = open("s4://bucket/x", Path::new("/")).unwrap_err();
        assert!(error.hint_text().unwrap().contains("s3"), "{error:?}");
        let error = open("https://example.com/x", Path::new("/")).unwrap_err();
        assert!(error.message().contains("unknown scheme"), "{error:?}");
        let error = open("files:///x", Path::new("/")).unwrap_err();
        assert!(error.hint_text().unwrap().contains("`file://`"), "{error:?}");
        assert!(open("", Path::new("/")).is_err());
        assert!(open("file://host/x", Path::new("/")).is_err());
        assert!(open("file:///x?y=1", Path::new("/")).is_err());
    }

    #[test]
    fn the_root_and_dots_are_plain() {
        assert_eq!(plain(Path::new("/none/./a/../b")).unwrap(), Path::new("/none/b"));
        assert_eq!(open("/", Path::new("/")).unwrap().local_path().unwrap(), Path::new("/"));
    }
}
