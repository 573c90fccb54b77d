//! The shared Delta tables, by their manifests: equal to the expected rows where there are some, else
//! to a second reading of the log and the files by the plain rules of the protocol.

use super::cells::{Rows, parquet_file};
use super::outcomes::{Outcome, Read, judge};
use super::{pin, rows_of, select};
use crate::shared::shared;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use lakemill::error::{Error, ErrorKind};
use lakemill::query::{FeatureSql, Parameters, Session, SessionOptions, polars};
use lakemill::tables::{At, PinnedTable};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

#[tokio::test]
async fn shared_delta_tables_give_their_expected_rows() {
    let Some(cases) = shared("conformance/delta") else { return };
    let outcomes = manifest_cases(&cases).await;
    assert!(outcomes.len() > 40, "only {} cases", outcomes.len());
    judge(&outcomes);
}

/// Every case of both manifests.
pub async fn manifest_cases(cases: &Path) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (manifest, name_column) in [("golden.tsv", 0), ("delta-rs.tsv", 1)] {
        let text = fs::read_to_string(cases.join(manifest)).unwrap();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let (name, features, told) = (columns[name_column], columns[name_column + 1], columns[name_column + 2]);
            let folder = cases.join(manifest.trim_end_matches(".tsv")).join(name);
            let table = if folder.join("delta").exists() { folder.join("delta") } else { folder.clone() };
            let result = if told.starts_with("ERR") {
                refused(&table).await
            } else {
                let expected = folder.join("expected");
                compared(&table, expected.exists().then_some(expected.as_path()), told).await
            };
            let features = words(features);
            outcomes.push(Outcome { features, name: format!("{manifest} {name}"), result });
        }
    }
    outcomes
}

/// The manifest's short words in full.
fn words(features: &str) -> Vec<String> {
    // The list of partition columns comes last and may hold spaces.
    let (short, partitions) = features.split_once("part:").map_or((features, false), |(rest, _)| (rest, true));
    let mut words: Vec<String> = short
        .split_whitespace()
        .filter_map(|word| match word {
            "ckpt" => Some("a checkpoint".to_owned()),
            "r1w2" | "r1w4" => Some("protocol 1".to_owned()),
            "r2w5" | "r3w7" | "cm=none" => None,
            _ => Some(word.replace("cm=", "columnMapping by ")),
        })
        .collect();
    if features.contains("cm=name") {
        words.push("columnMapping by name".to_owned());
    }
    if partitions {
        words.push("partitions".to_owned());
    }
    if words.is_empty() {
        words.push("a log that is lost or damaged".to_owned());
    }
    words.sort();
    words.dedup();
    words
}

/// A table that must not be read: without panic, with a kind and a message of ours.
async fn refused(path: &Path) -> Read {
    let error = match pin(path, At::Latest).await {
        Err(error) => error,
        Ok(table) => match rows_of(&table).await {
            Err(error) => error,
            Ok(rows) => return Read::Wrong(format!("read, with {} rows", rows.rows.len())),
        },
    };
    well_told(&error)
}

/// Whether an error says who must act, and what to do.
pub fn well_told(error: &Error) -> Read {
    let kind = matches!(error.kind(), ErrorKind::Failed | ErrorKind::Usage | ErrorKind::Check);
    if kind && error.hint_text().is_some() && !error.message().contains("Kernel") {
        Read::Refused(error.message().to_owned())
    } else {
        Read::Wrong(format!("not well told: {error:?}"))
    }
}

async fn compared(path: &Path, expected: Option<&Path>, told: &str) -> Read {
    let (version, rest) = told.split_once(" rows=").unwrap();
    let count: usize = rest.split(' ').next().unwrap().parse().unwrap();
    let version: u64 = version.trim_start_matches('v').parse().unwrap();
    let read = async {
        let table = pin(path, At::Version(version)).await?;
        assert_eq!(pin(path, At::Latest).await?.version, table.version, "{}", path.display());
        let rows = rows_of(&table).await?;
        Ok::<_, Error>((table, rows))
    };
    let (table, rows) = match read.await {
        Ok(read) => read,
        Err(error) => return Read::Wrong(format!("{error:?}")),
    };
    if rows.rows.len() != count {
        return Read::Wrong(format!("{} rows instead of {count}", rows.rows.len()));
    }
    let expected = match expected {
        Some(folder) => Some(Rows::of_parquet_files(folder)),
        None => replay(path, &table).map(|batches| Rows::of(&batches)),
    };
    let Some(mut expected) = expected else { return counted(&table, &rows).await };
    let mut rows = rows;
    if rest.ends_with("rows_match_only") {
        // Timestamps in partition values without a zone are read in UTC; whoever wrote these rows read
        // them in Los Angeles.
        for side in [&mut rows, &mut expected] {
            without(side, "as_timestamp");
        }
    }
    if let Some(difference) = rows.differs(&expected) {
        return Read::Wrong(difference);
    }
    match in_polars(&table).await {
        Some(Err(told)) => Read::Wrong(format!("polars: {told}")),
        Some(Ok(polars)) => match polars.differs(&rows) {
            Some(difference) => Read::Wrong(format!("polars: {difference}")),
            None => Read::EqualInBoth,
        },
        None => Read::Equal,
    }
}

/// Rows of which only the number is known: Polars must give the same ones, where it takes the columns.
pub async fn counted(table: &PinnedTable, rows: &Rows) -> Read {
    match in_polars(table).await {
        None => Read::Counted,
        Some(Err(told)) => Read::Wrong(format!("polars: {told}")),
        Some(Ok(polars)) => match polars.differs(rows) {
            Some(difference) => Read::Wrong(format!("polars: {difference}")),
            None => Read::CountedInBoth,
        },
    }
}

fn without(rows: &mut Rows, column: &str) {
    rows.columns.retain(|name| name != column);
    for row in &mut rows.rows {
        let cells: Vec<&str> = row.split(" | ").filter(|cell| !cell.starts_with(&format!("{column}="))).collect();
        *row = cells.join(" | ");
    }
    rows.rows.sort();
}

/// All rows by way of Polars, where it takes the columns: none of them nested, decimal, or bytes of one length.
pub async fn in_polars(table: &PinnedTable) -> Option<Result<Rows, String>> {
    let fixed = |kind: &DataType| matches!(kind, DataType::FixedSizeBinary(_) | DataType::Interval(_));
    let plain = |kind: &DataType| !kind.is_nested() && !fixed(kind) && !kind.is_decimal();
    if !table.schema.fields().iter().all(|field| plain(field.data_type())) || table.schema.fields().is_empty() {
        return None;
    }
    let read = async {
        let mut session = Session::new(SessionOptions::features(1 << 30))?;
        session.register(table).await?;
        let sql = FeatureSql::parse("SELECT * FROM t", "all.sql")?;
        polars::run(&session, &sql, &Parameters::new(), &[]).await
    };
    Some(read.await.map(|batch| Rows::of(&[batch])).map_err(|error: Error| format!("{error:?}")))
}

/// The rows by the plain rules: all commits in order, files read by the Parquet library alone. None
/// where that takes more than these rules: a log that was cleaned up, deletion vectors, mapped columns.
fn replay(path: &Path, table: &PinnedTable) -> Option<Vec<RecordBatch>> {
    let mut files: BTreeMap<String, Value> = BTreeMap::new();
    for version in 0..=table.version.parse::<u64>().unwrap() {
        let commit = fs::read_to_string(path.join(format!("_delta_log/{version:020}.json"))).ok()?;
        for line in commit.lines().filter(|line| !line.trim().is_empty()) {
            let action: Value = serde_json::from_str(line).unwrap();
            if let Some(add) = action.get("add") {
                add.get("deletionVector").is_none().then_some(())?;
                files.insert(add["path"].as_str().unwrap().to_owned(), add["partitionValues"].clone());
            } else if let Some(removed) = action.get("remove") {
                files.remove(removed["path"].as_str().unwrap());
            } else if let Some(metadata) = action.get("metaData") {
                metadata.pointer("/configuration/delta.columnMapping.mode").is_none().then_some(())?;
            }
        }
    }
    let mut batches = Vec::new();
    for (name, partition) in files {
        for batch in parquet_file(&path.join(percent_decoded(&name))) {
            batches.push(completed(&batch, &partition, table));
        }
    }
    Some(batches)
}

/// A file's batch with the table's columns: those of the file cast, the others from the partition's values.
fn completed(batch: &RecordBatch, partition: &Value, table: &PinnedTable) -> RecordBatch {
    let columns = table.schema.fields().iter().map(|field| {
        let column: ArrayRef = match (partition.get(field.name()), batch.column_by_name(field.name())) {
            (Some(value), _) => {
                let value = value.as_str().filter(|value| !value.is_empty());
                Arc::new(StringArray::from(vec![value; batch.num_rows()]))
            }
            (None, Some(column)) => Arc::clone(column),
            (None, None) => Arc::new(StringArray::new_null(batch.num_rows())),
        };
        (field.name().as_str(), cast(&column, field.data_type()).unwrap())
    });
    RecordBatch::try_from_iter(columns).unwrap()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn filters_give_the_rows_that_they_keep_of_all() {
    let Some(path) = shared("conformance/delta/golden/dv-partitioned-with-checkpoint/delta") else { return };
    let table = pin(&path, At::Latest).await.unwrap();
    let all = Rows::of(&select(&table, "SELECT col1 FROM t").await.unwrap());
    for threshold in [0, 3, 10, 20] {
        let kept = select(&table, &format!("SELECT col1 FROM t WHERE col1 >= {threshold}")).await.unwrap();
        let number = |row: &String| row.trim_start_matches("col1=").parse::<i64>().unwrap();
        let expected: Vec<String> = all.rows.iter().filter(|row| number(row) >= threshold).cloned().collect();
        assert_eq!(Rows::of(&kept).rows, expected, "{threshold}");
    }
}
