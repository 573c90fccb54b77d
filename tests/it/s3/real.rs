//! The shipped jobs on the real tables: everything in a bucket, and the same bytes as here.

use super::server::{Bucket, server};
use crate::command::{files, root};
use crate::shared::shared;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a run gave: its receipt, and the bytes of the data files of its predictions.
type Given = (Value, Vec<Vec<u8>>);

/// Runs a shipped job twice, on tables and with a home here and in a new bucket. `None` where server or tables are
/// not at hand; that is said.
fn here_and_there(job: &str, tables: &[&str], interval: &str, sets: &[&str]) -> Option<(Bucket, Given, Given)> {
    let server = server()?;
    let lake = shared("lake/flights")?.parent()?.to_path_buf();
    let bucket = server.bucket(&format!("real-{}", job.replace('_', "-")));
    for table in tables {
        bucket.upload(&lake.join(table), &format!("lake/{table}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |lake: &Path, home: &Path| {
        let job = root().join(format!("jobs/{job}.toml")).display().to_string();
        let mut args = vec!["run".to_owned(), job, "--interval".to_owned(), interval.to_owned()];
        let places = tables.iter().map(|table| format!("tables.{table}.path={}", lake.join(table).display()));
        let all = places.chain([format!("home={}", home.display())]).chain(sets.iter().map(|set| (*set).to_owned()));
        all.for_each(|set| args.extend(["--set".to_owned(), set]));
        bucket.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).expect(0).json()
    };
    let (home, remote) = (folder.path().join("home"), PathBuf::from(bucket.url("home")));
    let (here, there) = (run(&lake, &home), run(&PathBuf::from(bucket.url("lake")), &remote));
    let of = |all: Vec<(String, Vec<u8>)>, under: &str| {
        let data = all.into_iter().filter(|(name, _)| name.starts_with(under) && name.ends_with(".parquet"));
        let mut data: Vec<Vec<u8>> = data.map(|(_, bytes)| bytes).collect();
        data.sort();
        data
    };
    let here = (here, of(files(&home), &format!("predictions/{job}/interval={interval}/")));
    let there = (there, of(bucket.objects(), &format!("home/predictions/{job}/interval={interval}/")));
    Some((bucket, here, there))
}

fn same((here, rows): &Given, (there, same_rows): &Given) {
    assert_eq!(here["output"]["sha256"], there["output"]["sha256"]);
    assert_eq!(here["model"]["sha256"], there["model"]["sha256"]);
    assert_eq!(here["fingerprint"], there["fingerprint"]);
    assert_eq!(here["rows_out"], there["rows_out"]);
    assert!(!rows.is_empty() && rows == same_rows, "the data files differ");
}

/// The largest file is more than one part, and is whole there and back.
#[test]
fn the_fraud_job_on_the_real_table_gives_the_same_predictions_from_a_bucket() {
    let given = here_and_there("card_fraud", &["transactions"], "2018-06-20", &["model.window=7d"]);
    let Some((bucket, here, there)) = given else { return };
    same(&here, &there);
    let stats = bucket.run(&["lookup", "stats", "card_fraud", "--home", &bucket.url("home")]).expect(0).json();
    assert_eq!(stats["keys"], there.0["lookup"]["keys"]);
}

/// Delta tables, folders of `column=value`, and single files, joined.
#[test]
fn the_flights_job_on_the_real_tables_gives_the_same_predictions_from_a_bucket() {
    let tables = ["flights", "weather", "planes", "airlines"];
    let weeks = ["model.window=21d", "model.split.test=7d"];
    let Some((_, here, there)) = here_and_there("flight_delay", &tables, "2013-06-20", &weeks) else { return };
    same(&here, &there);
    assert_eq!(here.0["inputs"].as_object().map(|inputs| inputs.len()), Some(4), "{}", here.0);
}
