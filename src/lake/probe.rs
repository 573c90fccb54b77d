//! What a place lets us do, found out by doing it.

use super::location::{Location, Put};
use crate::error::{Error, Result};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

/// What was tried at a place, in this order; `None` is what was not tried, because it was not asked
/// for or something before it failed.
#[derive(Debug, Default)]
pub struct Probe {
    /// Listing what lies there.
    pub list: Option<bool>,
    /// Reading an object that lies there. A place without objects has nothing to read.
    pub read: Option<bool>,
    /// Writing and removing an object.
    pub write: Option<bool>,
    /// Of two writers of one object, the second is refused.
    pub put_if_absent: Option<bool>,
    /// By how much this machine's clock shows more than the store's, to the second, where an object was written: within
    /// what the writing took, both are taken for one.
    pub clock: Option<TimeDelta>,
    /// Why the last thing that was tried did not work.
    pub error: Option<Error>,
}

/// Lists and reads at `place`; `Some(name)` writes the probe `_lakemill_probe/<name>` below it, too, and removes it.
pub async fn probe(place: &Location, name: Option<&str>) -> Probe {
    let mut probe = Probe::default();
    if let Err(error) = look(place, &mut probe).await {
        probe.error = Some(error);
        return probe;
    }
    if let Some(name) = name {
        let object = place.join("_lakemill_probe").join(name);
        let tried = write(&object, &mut probe).await;
        // Also what a failed step has left.
        let removed = object.delete().await;
        probe.error = tried.and(removed).err();
    }
    probe
}

async fn look(place: &Location, probe: &mut Probe) -> Result<()> {
    probe.list = Some(false);
    let first = place.first().await?;
    probe.list = Some(true);
    if let Some(object) = first {
        probe.read = Some(false);
        object.touch().await?;
        probe.read = Some(true);
    }
    Ok(())
}

async fn write(object: &Location, probe: &mut Probe) -> Result<()> {
    probe.write = Some(false);
    let before = Utc::now();
    object.put(Bytes::from_static(b"written")).await?;
    let after = Utc::now();
    probe.clock = object.head().await?.map(|written| ahead(before, written.last_modified, after));
    object.delete().await?;
    probe.write = Some(true);
    probe.put_if_absent = Some(false);
    let first = object.put_if_absent(Bytes::from_static(b"first")).await?;
    let second = object.put_if_absent(Bytes::from_static(b"second")).await?;
    if (first, second) != (Put::Created, Put::AlreadyThere) || object.get().await?.as_deref() != Some(b"first") {
        return Err(Error::failed("the store does not keep the second of two writers from replacing the first")
            .with("location", object)
            .hint("lakemill needs a store that honours If-None-Match; without it no home is safe there"));
    }
    probe.put_if_absent = Some(true);
    Ok(())
}

/// By how much a clock that showed `before` and `after` around an event is ahead of one that showed `there` at it, and
/// that tells whole seconds only.
fn ahead(before: DateTime<Utc>, there: DateTime<Utc>, after: DateTime<Utc>) -> TimeDelta {
    let second = TimeDelta::seconds(1);
    if there + second < before {
        before - there - second
    } else if there > after {
        after - there
    } else {
        TimeDelta::zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_clock_is_as_wrong_as_the_writing_proves() {
        let at = |seconds: i64| DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap_or_default();
        let of = |before, there, after| ahead(at(before), at(there), at(after)).num_seconds();
        assert_eq!([of(5, 5, 6), of(5, 4, 6), of(5, 6, 6)], [0, 0, 0]);
        assert_eq!([of(605, 4, 606), of(5, 126, 6)], [600, -120]);
    }

    #[tokio::test]
    async fn a_local_home_lets_us_do_everything_and_keeps_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "a").unwrap();
        let place = Location::parse(&folder.path().display().to_string(), Path::new("/")).unwrap();
        let found = probe(&place, Some("x1")).await;
        assert!(found.error.is_none(), "{found:?}");
        assert_eq!((found.list, found.read, found.write), (Some(true), Some(true), Some(true)));
        assert_eq!(found.put_if_absent, Some(true));
        assert_eq!(found.clock, Some(TimeDelta::zero()));
        assert_eq!(place.list().await.unwrap().len(), 1);
        let looked = probe(&place, None).await;
        assert_eq!((looked.read, looked.write, looked.put_if_absent), (Some(true), None, None));
    }

    #[tokio::test]
    async fn what_does_not_work_is_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "a").unwrap();
        let place = Location::parse(&folder.path().join("file").display().to_string(), Path::new("/")).unwrap();
        let found = probe(&place, Some("x1")).await;
        assert_eq!(found.write, Some(false), "{found:?}");
        assert!(found.error.is_some());
    }
}
