//! What the Polars engine lacks is said by name and place, before a row is read, and never computed otherwise.

use super::tables::session;
use super::{both, is_refusal};
use crate::command::{root, run_json};
use lakemill::query::{FeatureSql, Parameters, polars};
use serde_json::Value;

/// Constructs, and what is said of them.
const LACKING: &[(&str, &str)] = &[
    (
        "SELECT id,\n  sum(i) OVER (PARTITION BY k ORDER BY at RANGE BETWEEN INTERVAL '7 days' PRECEDING AND CURRENT ROW) AS s\nFROM t",
        "2:3: the polars engine lacks RANGE frames other than UNBOUNDED PRECEDING to the current row",
    ),
    (
        "SELECT id, avg(y) OVER (ORDER BY id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS s FROM t",
        "1:12: the polars engine lacks ROWS frames other than",
    ),
    (
        "SELECT id, sum(i) OVER (ROWS UNBOUNDED PRECEDING) AS s FROM t",
        "1:12: the polars engine lacks ROWS frames without",
    ),
    ("SELECT id, ntile(4) OVER (ORDER BY id) AS s FROM t", "1:12: the polars engine lacks the window function `ntile`"),
    (
        "SELECT id, max(s) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS m FROM t",
        "1:12: the polars engine lacks max of values of this type over rows up to the current one",
    ),
    ("SELECT id FROM t\nWHERE y > (SELECT avg(y) FROM u)", "2:12: the polars engine lacks a subquery as a value"),
    (
        "SELECT id FROM t WHERE y > (SELECT avg(y) FROM u WHERE u.k = t.k)",
        "semi (IN, EXISTS) join that compares columns",
    ),
    ("SELECT k, median(y) AS m FROM t GROUP BY k", "1:11: the polars engine lacks the aggregate `median`"),
    ("SELECT k, array_agg(i) AS m FROM t GROUP BY k", "1:11: the polars engine lacks the aggregate `array_agg`"),
    ("SELECT k, sum(DISTINCT i), count(DISTINCT y) FROM t GROUP BY k", "the polars engine lacks"),
    ("SELECT k, first_value(s) AS m FROM t GROUP BY k", "1:11: the polars engine lacks first_value without ORDER BY"),
    ("SELECT id, CAST(y AS DECIMAL(10, 2)) AS m FROM t", "the polars engine lacks columns of type Decimal128"),
    ("SELECT id, make_array(k, i) AS m FROM t", "the polars engine lacks columns of type List"),
    ("SELECT k, f, count(*) FROM t GROUP BY ROLLUP (k, f)", "the polars engine lacks GROUPING SETS, ROLLUP and CUBE"),
    ("SELECT t.id, u.id AS o FROM t LEFT JOIN u ON t.k = u.k AND t.y < u.y", "left or right join that compares"),
    ("SELECT t.id, u.id AS o FROM t LEFT JOIN u ON t.y < u.y", "left or right join without equal keys"),
    ("SELECT id FROM t WHERE k NOT IN (SELECT k FROM u)", "NOT IN (SELECT ...)"),
    ("SELECT id, unnest(make_array(k, i)) AS e FROM t", "1:12: the polars engine lacks UNNEST"),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
        "the polars engine lacks WITH RECURSIVE",
    ),
];

#[tokio::test]
async fn every_lack_has_a_name_and_a_place() {
    let session = session();
    let mut wrong = Vec::new();
    for (text, wanted) in LACKING {
        let sql = FeatureSql::parse(text, "sql/test.sql").unwrap();
        let told: Vec<String> = match polars::lacking(&session, &sql, &Parameters::new()).await {
            Ok(lacks) => {
                let place = |line: Option<u64>, column: Option<u64>| {
                    line.zip(column).map(|(line, column)| format!("{line}:{column}: ")).unwrap_or_default()
                };
                lacks.iter().map(|lack| format!("{}{}", place(lack.line, lack.column), lack.message)).collect()
            }
            Err(error) => vec![format!("{error:?}")],
        };
        if !told.iter().any(|told| told.contains(wanted)) {
            wrong.push(format!("{text}\n  {told:?}\n  instead of {wanted}"));
        }
        match both(&session, text, &Parameters::new()).await {
            Ok(both) if both.polars.as_ref().is_err_and(is_refusal) => {}
            Ok(both) => wrong.push(format!("{text}\n  is not refused: {:?}", both.polars.map(|rows| rows.len()))),
            Err(error) => wrong.push(format!("{text}\n  does not plan: {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), LACKING.len(), wrong.join("\n"));
}

#[tokio::test]
async fn all_lacks_are_told_at_once_and_each_once() {
    let text = "SELECT k, median(y) AS a,\n  median(i) AS b, array_agg(k) AS c FROM t GROUP BY k";
    let sql = FeatureSql::parse(text, "sql/test.sql").unwrap();
    let lacks = polars::lacking(&session(), &sql, &Parameters::new()).await.unwrap();
    let told: Vec<&str> = lacks.iter().map(|lack| lack.message.as_str()).collect();
    assert!(told.contains(&"the polars engine lacks the aggregate `median`"), "{told:?}");
    assert!(told.contains(&"the polars engine lacks the aggregate `array_agg`"), "{told:?}");
    assert_eq!(told.iter().filter(|told| told.contains("median")).count(), 1, "{told:?}");
}

/// The shipped SQL has RANGE frames; `check` names them whether the tables are there or not.
#[test]
fn check_names_what_the_job_needs() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().display().to_string();
    let job = root().join("jobs/spend.toml").display().to_string();
    let check = || {
        let mut args = vec!["check".to_owned(), job.clone(), "--set".to_owned(), "features.engine=polars".to_owned()];
        for table in ["transactions", "customers", "terminals"] {
            args.extend(["--set".to_owned(), format!("tables.{table}.path={lake}/lake/{table}")]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run_json(&args).expect(2).json()
    };
    let named = |checked: &Value| {
        let all = checked["diagnostics"].as_array().unwrap_or_else(|| panic!("{checked}"));
        let frames = all.iter().find(|one| one["message"].as_str().unwrap().contains("lacks RANGE frames"));
        let frames = frames.unwrap_or_else(|| panic!("{checked}"));
        assert!(frames["line"].as_u64().is_some_and(|line| line > 10), "{frames}");
    };
    named(&check());
    run_json(&["demo", "--lake-only", "--rows", "2000", "--dir", &lake]).expect(0);
    named(&check());
}
