//! Versions and instants at the edges of what a Delta log still holds.

use crate::command::run;
use crate::conformance::log::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use chrono::DateTime;
use lakemill::error::{ErrorKind, Result};
use lakemill::lake::Location;
use lakemill::tables::{self, At, PinnedTable, TableRequest};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

async fn pin(log: &Log, at: At) -> Result<PinnedTable> {
    let location = Location::parse(log.root.to_str().unwrap(), Path::new("/")).unwrap();
    tables::pin(&TableRequest { at, ..TableRequest::latest("t", location) }).await
}

fn one(number: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![number])) as ArrayRef)]).unwrap()
}

/// A commit a version, an hour apart by the time at which the store received it, the first at 1:00.
fn hourly(log: &Log, versions: u64) {
    for version in 0..versions {
        let add = log.add(&format!("{version}.parquet"), &one(version as i64));
        let top = [protocol(1, 2), metadata(&[field("id", "long")], &[], json!({}))];
        let actions: Vec<_> = if version == 0 { top.into_iter().chain([add]).collect() } else { vec![add] };
        log.commit(version, &actions);
        received(log, version, 3600 * (version + 1));
    }
}

fn received(log: &Log, version: u64, seconds: u64) {
    let commit = fs::File::options().write(true).open(log.file(&format!("{version:020}.json"))).unwrap();
    commit.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

fn instant(seconds: i64) -> At {
    At::AsOf(DateTime::from_timestamp(seconds, 0).unwrap())
}

#[tokio::test]
async fn a_log_that_was_cleaned_up_tells_how_far_it_goes_back() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    hourly(&log, 6);
    let adds: Vec<_> = (0..=3).map(|version| log.add(&format!("{version}.parquet"), &one(version))).collect();
    let top = [protocol(1, 2), metadata(&[field("id", "long")], &[], json!({}))];
    log.checkpoint(3, &[&top[..], &adds].concat());
    log.remove_commits(0..=2);

    for (at, version) in
        [(At::Version(3), "3"), (instant(4 * 3600), "3"), (instant(5 * 3600 - 1), "3"), (instant(999_999), "5")]
    {
        let table = pin(&log, at).await.unwrap();
        assert_eq!((table.version.as_str(), table.rows), (version, Some(version.parse::<u64>().unwrap() + 1)), "{at}");
    }
    let error = pin(&log, At::Version(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.message(), "version 2 can no longer be read: the table's log was cleaned up to version 3");
    assert!(error.hint_text().unwrap().starts_with("versions 3 to 5 can be read"), "{error:?}");
    let error = pin(&log, At::Version(6)).await.unwrap_err();
    assert_eq!((error.message(), error.hint_text()), ("the table has no version 6", Some("versions 3 to 5 exist")));
    let error = pin(&log, instant(3 * 3600)).await.unwrap_err();
    assert_eq!(error.message(), "the table's log no longer goes back to 1970-01-01T03:00:00Z");
    assert_eq!(error.hint_text(), Some("its first commit that is still there is of 1970-01-01T04:00:00Z"));
}

#[tokio::test]
async fn a_version_above_a_gap_names_the_lost_commit_and_those_below_are_read() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    hourly(&log, 5);
    log.remove_commits(2..=2);
    assert_eq!(pin(&log, At::Version(1)).await.unwrap().rows, Some(2));
    for at in [At::Version(2), At::Version(3), At::Latest, instant(5 * 3600)] {
        let error = pin(&log, at).await.unwrap_err();
        assert!(error.message().contains("lacks the commit of version 2"), "{at}: {error:?}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("restore")), "{error:?}");
    }
}

#[tokio::test]
async fn clocks_that_went_back_do_not_reorder_versions() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    hourly(&log, 3);
    // Version 1 came, by its clock, before version 0: it counts as a moment after it.
    received(&log, 1, 60);
    assert!(pin(&log, instant(60)).await.is_err());
    assert_eq!(pin(&log, instant(3600)).await.unwrap().version, "0");
    assert_eq!(pin(&log, instant(3601)).await.unwrap().version, "1");
}

#[tokio::test]
async fn in_commit_timestamps_are_what_a_pin_tells() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    let config = json!({"delta.enableInCommitTimestamps": "true"});
    for version in 0..2 {
        let info = json!({"commitInfo": {"inCommitTimestamp": (version + 1) * 1000, "operation": "WRITE"}});
        let top = [features(&[], &["inCommitTimestamp"]), metadata(&[field("id", "long")], &[], config.clone())];
        let add = log.add(&format!("{version}.parquet"), &one(version));
        let rest: Vec<_> = if version == 0 { top.into_iter().chain([add]).collect() } else { vec![add] };
        log.commit(version as u64, &[vec![info], rest].concat());
        received(&log, version as u64, 999_999);
    }
    for (at, version, millis) in [(At::Latest, "1", 2000), (instant(2), "1", 2000), (instant(1), "0", 1000)] {
        let table = pin(&log, at).await.unwrap();
        assert_eq!((table.version.as_str(), table.changed_at.unwrap().timestamp_millis()), (version, millis), "{at}");
    }
    assert!(pin(&log, instant(0)).await.unwrap_err().message().starts_with("the table did not exist yet"));
}

#[test]
fn instants_on_the_command_line_have_a_zone() {
    let lake = TempDir::new().unwrap();
    // An @ in the path belongs to it.
    let log = Log::new(lake.path().join("a@b"));
    hourly(&log, 3);
    let count = |at: &str| {
        let table = format!("t={}{at}", log.root.display());
        run(&["query", "SELECT count(*) AS n FROM t", "--table", &table, "--format", "csv"])
    };
    for (at, rows) in [
        ("", 3),
        ("@1", 2),
        ("@1970-01-01T01:00:00Z", 1),
        ("@1970-01-01T04:30:00+02:00", 2),
        ("@2000-01-01T00:00:00-05:00", 3),
    ] {
        assert_eq!(count(at).expect(0).stdout, format!("n\n{rows}\n"), "{at}");
    }
    assert!(count("@1970-01-01T00:59:59.999Z").expect(2).stderr.contains("did not exist yet"));
    assert!(count("@9").expect(2).stderr.contains("no version 9"));
    // Without a zone it is no instant, so it is looked for as part of the path.
    count("@1970-01-01T01:00:00").expect(2);
}
