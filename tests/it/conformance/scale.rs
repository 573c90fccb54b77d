//! A log of 300,000 files: opening it, planning over it, and a count that needs one partition of it.

use super::log::*;
use super::pin;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use lakemill::query::{Session, SessionOptions};
use lakemill::runtime::peak_rss_bytes;
use lakemill::tables::At;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

const DAYS: usize = 300;
const FILES_A_DAY: usize = 1000;
const ROWS_A_FILE: usize = 10;

/// The adds of one day. Only the files of day 7 exist: whoever opens another one fails.
fn adds(log: &Log, day: usize) -> Vec<Value> {
    let add = |number: usize| {
        let file = log.root.join(format!("day={day}/{number}.parquet"));
        let size = fs::metadata(file).map_or(700, |metadata| metadata.len());
        let stats = json!({"numRecords": ROWS_A_FILE, "minValues": {"id": number * 10}, "maxValues": {"id": number * 10 + 9},
            "nullCount": {"id": 0}});
        json!({"add": {"path": format!("day={day}/{number}.parquet"), "partitionValues": {"day": day.to_string()},
            "size": size, "modificationTime": 1, "dataChange": true, "stats": stats.to_string()}})
    };
    (0..FILES_A_DAY).map(add).collect()
}

fn table(log: &Log) {
    for number in 0..FILES_A_DAY {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..10).map(|row| (number * 10 + row) as i64)));
        write_parquet(
            &log.root.join(format!("day=7/{number}.parquet")),
            &RecordBatch::try_from_iter([("id", ids)]).unwrap(),
        );
    }
    let top = [
        features(&["v2Checkpoint"], &[]),
        metadata(&[field("id", "long"), field("day", "integer")], &["day"], json!({})),
    ];
    let of_days = |days: std::ops::Range<usize>| days.flat_map(|day| adds(log, day)).collect::<Vec<_>>();
    // A third each: two sidecars of a checkpoint, and a commit after it.
    log.checkpoint_with_sidecars(5, "parquet", &top, &[&of_days(0..DAYS / 3), &of_days(DAYS / 3..2 * DAYS / 3)]);
    log.commit(6, &of_days(2 * DAYS / 3..DAYS));
}

#[tokio::test]
async fn a_log_of_300_000_files_is_opened_and_one_partition_is_read() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    table(&log);
    let bytes: u64 =
        fs::read_dir(log.file("_sidecars")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let (started, before) = (Instant::now(), peak_rss_bytes());
    let pinned = pin(&log.root, At::Latest).await.unwrap();
    let opened = started.elapsed();
    let all = (DAYS * FILES_A_DAY) as u64;
    assert_eq!((pinned.files, pinned.rows), (all, Some(all * ROWS_A_FILE as u64)));

    let mut session = Session::new(SessionOptions::features(1 << 30)).unwrap();
    session.register(&pinned).await.unwrap();
    for (filter, files, count) in
        [("day = 7", 1000, 10_000), ("day = 7 AND id BETWEEN 100 AND 119", 2, 20), ("day = 999", 0, 0)]
    {
        let started = Instant::now();
        let query = session.ad_hoc(&format!("SELECT count(*), sum(id) FROM t WHERE {filter}")).await.unwrap();
        let planned = started.elapsed();
        assert_eq!(query.estimate()[0].files, files, "{filter}: {}", query.explain().physical);
        let rows = query.collect().await.unwrap();
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), count, "{filter}");
        println!("{filter}: planned in {planned:?}, read in {:?}", started.elapsed() - planned);
    }
    println!(
        "opened in {opened:?} (sidecars of {bytes} bytes); peak memory grew by {} MiB",
        (peak_rss_bytes() - before) >> 20
    );
}
