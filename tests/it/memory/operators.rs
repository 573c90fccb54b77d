//! Joins, sorts and aggregates within little memory and within much.

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use lakemill::error::{Error, ErrorKind};
use lakemill::query::{Session, SessionOptions};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

const MUCH: usize = 1 << 30;

/// Enough for several sorts to merge what they spilled, and less than the tables take.
const LITTLE: usize = 40_000_000;

/// Rows `id` (in order), `k` (repeated, some null), `name`, `x`.
fn table(rows: usize, keys: i64, seed: u64) -> Vec<RecordBatch> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let ids: Vec<i64> = (0..rows as i64).collect();
    let batch = |ids: &[i64]| {
        let keys: Vec<Option<i64>> =
            ids.iter().map(|_| Some(dice.random_range(0..keys)).filter(|key| key % 50 != 7)).collect();
        let names = keys.iter().map(|key| key.map(|key| format!("name {}", key % 100)));
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from(ids.to_vec()))),
            ("name", Arc::new(StringArray::from_iter(names))),
            ("k", Arc::new(Int64Array::from(keys))),
            ("x", Arc::new(Float64Array::from_iter_values(ids.iter().map(|_| dice.random_range(-1.0..1.0))))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    };
    ids.chunks(5000).map(batch).collect()
}

/// `a`, the larger, and `b`, of which some keys are in several rows.
fn session(memory: usize) -> Session {
    over(SessionOptions::features(memory), 240_000, 200_000)
}

fn over(options: SessionOptions, a: usize, b: usize) -> Session {
    let mut session = Session::new(options).unwrap();
    for (name, rows, seed) in [("a", a, 1), ("b", b, 2)] {
        let batches = table(rows, 100_000, seed);
        session.register_batches(name, batches[0].schema(), batches).unwrap();
    }
    session
}

async fn rows(session: &Session, sql: &str) -> Result<RecordBatch, Error> {
    let planned = session.ad_hoc(sql).await?;
    let batches = planned.collect().await?;
    Ok(concat_batches(&planned.schema(), &batches).unwrap())
}

/// Every kind of join that a hash join is.
fn joins() -> Vec<String> {
    let mut all = Vec::new();
    for kind in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
        for (left, right) in [("a", "b"), ("b", "a")] {
            for condition in ["l.k = r.k AND l.x < r.x", "l.name = r.name AND l.k = r.k"] {
                all.push(format!(
                    "SELECT l.id, l.name, l.x, r.name AS n, r.id AS other FROM {left} l {kind} {right} r ON {condition}"
                ));
            }
        }
    }
    for (left, right) in [("a", "b"), ("b", "a")] {
        for kind in ["LEFT SEMI JOIN", "LEFT ANTI JOIN", "RIGHT SEMI JOIN", "RIGHT ANTI JOIN"] {
            all.push(format!(
                "SELECT * FROM {left} l {kind} {right} r ON l.k = r.k AND l.x < r.x AND l.name <= r.name"
            ));
        }
        all.push(format!(
            "SELECT l.* FROM {left} l WHERE l.x > 0.9 OR EXISTS (SELECT 1 FROM {right} r WHERE r.k = l.k AND r.name > l.name)"
        ));
    }
    all
}

#[tokio::test]
async fn joins_give_the_same_rows_in_the_same_order_on_disk() {
    let (much, little) = (session(MUCH), session(LITTLE));
    for sql in joins() {
        let plan = little.ad_hoc(&sql).await.unwrap().explain().physical;
        assert!(plan.contains("Bounded: on disk, HashJoinExec"), "{sql}\n{plan}");
        let plan = much.ad_hoc(&sql).await.unwrap().explain().physical;
        assert!(plan.contains("Bounded: HashJoinExec"), "{sql}\n{plan}");
        let (expected, found) = (rows(&much, &sql).await.unwrap(), rows(&little, &sql).await.unwrap());
        assert!(expected.num_rows() > 1_000, "{sql}: {} rows", expected.num_rows());
        assert_eq!(expected.num_rows(), found.num_rows(), "{sql}");
        if expected != found {
            let differs = (0..expected.num_rows()).find(|row| expected.slice(*row, 1) != found.slice(*row, 1));
            panic!("{sql}\n{:?}", differs.map(|row| (expected.slice(row, 2), found.slice(row, 2))));
        }
    }
}

#[tokio::test]
async fn a_join_that_turns_out_too_large_goes_on_on_disk() {
    // The statistics guess that a fifth of the rows is left; all are.
    let sql = "SELECT a.id, a.x, b.name FROM a JOIN (SELECT * FROM b WHERE id % 3 >= 0) b ON a.k = b.k";
    let little = session(30_000_000);
    let plan = little.ad_hoc(sql).await.unwrap().explain().physical;
    assert!(plan.contains("Bounded: HashJoinExec"), "{plan}");
    assert_eq!(rows(&session(MUCH), sql).await.unwrap(), rows(&little, sql).await.unwrap());
}

#[tokio::test]
async fn joins_in_a_chain_are_the_same() {
    let sql = "SELECT l.id, m.x, r.id AS other, sum(r.x) OVER (PARTITION BY l.name ORDER BY l.id ROWS 3 PRECEDING) AS s \
        FROM a l LEFT JOIN (SELECT k, min(x) AS x FROM b GROUP BY k) m ON l.k = m.k LEFT JOIN b r ON r.id = l.id";
    assert_eq!(rows(&session(MUCH), sql).await.unwrap(), rows(&session(80_000_000), sql).await.unwrap());
}

#[tokio::test]
async fn groups_come_in_the_same_order_with_the_same_sums() {
    for sql in [
        "SELECT k, name, count(*) AS n, sum(x) AS s, avg(x) AS m, stddev(x) AS d, first_value(id) AS f FROM a GROUP BY k, name",
        "SELECT id, name, sum(x) FILTER (WHERE x > 0) AS s FROM a GROUP BY id, name",
        "SELECT DISTINCT k, x > 0 AS positive FROM a",
        "SELECT k, count(DISTINCT name) AS n FROM a GROUP BY k",
    ] {
        let little = rows(&session(24_000_000), sql).await.unwrap();
        assert_eq!(rows(&session(MUCH), sql).await.unwrap(), little, "{sql}");
    }
}

#[tokio::test]
async fn ties_stay_as_they_came() {
    for sql in [
        "SELECT * FROM a ORDER BY name",
        "SELECT id, count(*) OVER (PARTITION BY name ORDER BY k % 3 ROWS 5 PRECEDING) AS n FROM a",
        "SELECT id, sum(x) OVER (PARTITION BY k % 10 ORDER BY k ROWS 5 PRECEDING) AS n FROM a",
    ] {
        let (much, little) = (rows(&session(MUCH), sql).await.unwrap(), rows(&session(LITTLE), sql).await.unwrap());
        assert_eq!(much, little, "{sql}");
    }
    // By name, and of one name as in the table.
    let sorted = rows(&session(MUCH), "SELECT name, id FROM a WHERE name IS NOT NULL ORDER BY name").await.unwrap();
    let names = sorted.column(0).as_any().downcast_ref::<StringArray>().unwrap();
    let ids = sorted.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
    assert!((1..ids.len()).all(|row| (names.value(row - 1), ids.value(row - 1)) < (names.value(row), ids.value(row))));
}

#[tokio::test]
async fn joins_with_one_way_are_refused_by_name_where_they_are_too_large() {
    let cases = [
        ("SELECT a.id, b.x FROM a, b", "CrossJoinExec"),
        ("SELECT a.id FROM a JOIN b ON a.x < b.x - 1.99", "NestedLoopJoinExec"),
        ("SELECT id FROM a WHERE k NOT IN (SELECT k FROM b)", "HashJoinExec"),
    ];
    for (sql, operator) in cases {
        let error = session(2_000_000).ad_hoc(sql).await.err().unwrap_or_else(|| panic!("{sql} was planned"));
        assert_eq!(error.kind(), ErrorKind::Budget, "{error:?}");
        assert!(error.to_string().contains(&format!("operator = {operator}")), "{error:?}");
        assert!(error.hint_text().unwrap().contains("--memory"), "{error:?}");
        session(MUCH).ad_hoc(sql).await.unwrap();
    }
    // Small ones are no harm.
    let found = rows(&session(LITTLE), "SELECT a.id, s.top FROM a, (SELECT max(x) AS top FROM b) s").await.unwrap();
    assert_eq!(found.num_rows(), 240_000);
}

#[tokio::test]
async fn ad_hoc_queries_join_on_disk_too() {
    let sql = "SELECT a.id, a.name, b.id AS other, b.name AS n FROM a JOIN b ON a.k = b.k AND a.x < b.x ORDER BY 1, 3";
    let mut found = Vec::new();
    for memory in [MUCH, 100_000_000] {
        let session = over(SessionOptions::ad_hoc(memory, 2), 480_000, 400_000);
        let plan = session.ad_hoc(sql).await.unwrap().explain().physical;
        assert_eq!(plan.contains("SortMergeJoin"), memory != MUCH, "{plan}");
        found.push(rows(&session, sql).await.unwrap());
    }
    assert_eq!(found[0], found[1]);
}
