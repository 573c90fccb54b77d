//! Where copies of what lies in a bucket are kept on this machine.

use super::Location;
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The folder for copies of what lies at `place`: under `LAKEMILL_CACHE`, else under the user's cache
/// folder, and there under a hash of the place's URL. Nothing is made yet; whatever lies there may be
/// removed at any time.
///
/// # Errors
/// Usage: neither a cache folder nor a user's home is known.
pub fn cache_of(place: &Location) -> Result<PathBuf> {
    let hash = blake3::hash(place.url().as_str().as_bytes()).to_hex();
    Ok(root()?.join(&hash[..16]))
}

fn root() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = set("LAKEMILL_CACHE") {
        return std::path::absolute(cache).map_err(|source| Error::usage("LAKEMILL_CACHE is no path").because(source));
    }
    // A relative XDG path is to be ignored, by its own rules.
    let usual = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let cache = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| set("HOME").map(|home| home.join(usual)));
    cache.map(|cache| cache.join("lakemill")).ok_or_else(|| {
        Error::usage("it is not known where copies of lookup tables may be kept").hint("set LAKEMILL_CACHE to a folder")
    })
}
