//! `predict()` in SQL: what a registered model gives in a query is what scoring wrote, wrong calls are told.

use crate::command::{Outcome, root, run};
use std::sync::{Arc, Mutex, Weak};
use tempfile::TempDir;

/// A small demo: lake, model and one scored day. One for all tests that run at the same time; gone with the last.
struct Demo(Arc<TempDir>);

impl Demo {
    fn new() -> Self {
        static MADE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
        let mut made = MADE.lock().unwrap();
        if let Some(folder) = made.upgrade() {
            return Self(folder);
        }
        let folder = Arc::new(TempDir::new().unwrap());
        run(&["demo", "--rows", "200000", "--dir", folder.path().to_str().unwrap()]).expect(0);
        *made = Arc::downgrade(&folder);
        Self(folder)
    }

    fn path(&self, below: &str) -> String {
        self.0.path().join(below).to_str().unwrap().to_owned()
    }

    /// A query over the demo's tables with the shipped job.
    fn query(&self, sql: &str, more: &[&str]) -> Outcome {
        let job = root().join("jobs/card_fraud.toml");
        let sets = self.sets();
        let mut args = vec!["query", sql, "--job", job.to_str().unwrap(), "--interval", "2018-06-30"];
        args.extend(["--set", &sets[0], "--set", &sets[1], "--format", "csv"]);
        args.extend(more);
        run(&args)
    }

    fn sets(&self) -> [String; 2] {
        let (lake, home) = (self.path("lake/transactions"), self.path("home"));
        [format!("tables.transactions.path={lake:?}"), format!("home={home:?}")]
    }

    /// A query over the transactions alone.
    fn ask(&self, sql: &str) -> Outcome {
        let table = format!("t={}", self.path("lake/transactions"));
        run(&["query", sql, "--table", &table, "--home", &self.path("home"), "--format", "csv"])
    }
}

/// The model's rows of the scored day, as a subquery.
fn features() -> String {
    std::fs::read_to_string(root().join("sql/card_fraud.sql")).unwrap()
}

fn sorted(csv: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = csv.lines().skip(1).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_query_predicts_what_scoring_wrote_at_any_number_of_threads() {
    let demo = Demo::new();
    let predictions = format!("p={}", demo.path("home/predictions/card_fraud"));
    let written = run(&["query", "SELECT transaction_id, score FROM p", "--table", &predictions, "--format", "csv"]);
    let written = written.expect(0).stdout;
    assert!(written.lines().count() > 100, "{written}");
    let sql = format!("SELECT transaction_id, predict('card_fraud@champion') AS score FROM ({}) f", features());
    for threads in ["1", "2", "7"] {
        let asked = demo.query(&sql, &["--threads", threads]).expect(0).stdout;
        assert_eq!(sorted(&asked), sorted(&written), "{threads} threads");
    }
}

#[test]
fn columns_may_be_named_and_predictions_be_aggregated() {
    let signature = "tx_amount, weekend, night, customer_count_1d, customer_mean_amount_1d, customer_count_7d, \
                     customer_mean_amount_7d, customer_count_30d, customer_mean_amount_30d, terminal_count_1d, \
                     terminal_fraud_share_1d, terminal_count_7d, terminal_fraud_share_7d, terminal_count_30d, \
                     terminal_fraud_share_30d";
    // An alias and a version of one model are two functions; upper case is the same word.
    let sql = format!(
        "SELECT count(*) AS n, count(predict('card_fraud')) AS m, max(abs(predict('card_fraud@1', {signature}) \
         - PREDICT('card_fraud@champion'))) AS gap FROM ({}) f WHERE predict('card_fraud') BETWEEN 0 AND 1",
        features()
    );
    let told = Demo::new().query(&sql, &[]).expect(0).stdout;
    let values: Vec<&str> = told.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(values[0], values[1], "{told}");
    assert!(values[0].parse::<u64>().unwrap() > 100, "{told}");
    assert_eq!(values[2], "0.0", "{told}");
}

#[test]
fn an_explained_query_shows_the_call() {
    let sql =
        "EXPLAIN SELECT predict('card_fraud', tx_amount, false, false, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) FROM t";
    let told = Demo::new().ask(sql).expect(0).stdout;
    assert!(told.contains("predict('card_fraud', "), "{told}");
}

#[test]
fn rows_that_the_model_rejects_give_null() {
    let sql = "SELECT tx_amount, predict('card_fraud', tx_amount / CASE WHEN tx_amount > 50 THEN 0e0 ELSE 1 END, \
               false, false, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) AS p FROM t LIMIT 1000";
    let told = Demo::new().ask(sql).expect(0).stdout;
    let mut seen = [false; 2];
    for line in told.lines().skip(1) {
        let (amount, p) = line.split_once(',').unwrap();
        let infinite = amount.parse::<f64>().unwrap() > 50.0;
        assert_eq!(p.is_empty(), infinite, "{line}");
        seen[usize::from(infinite)] = true;
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn wrong_calls_are_told_with_their_place() {
    let demo = Demo::new();
    let cases = [
        (
            "SELECT predict('card_fraud@champion') FROM t",
            "takes the column `weekend`, which is not there (at = query:1:8)",
        ),
        ("SELECT predict('card_fraud', tx_amount) FROM t", "takes 15 columns, 1 are given"),
        ("SELECT predict(card_fraud) FROM t", "the first argument of predict() is a model's name in single quotes"),
        ("SELECT predict() FROM t", "the first argument of predict() is a model's name in single quotes"),
        ("SELECT predict('card_fraud') OVER () FROM t", "predict() works row by row"),
        ("SELECT predict('card_frod') FROM t", "did you mean `card_fraud`?"),
        ("SELECT predict('card_fraud@9') FROM t", "the model has no such version"),
        (
            "SELECT predict('card_fraud', tx_amount, 'x', false, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) FROM t",
            "the model `card_fraud` takes `weekend` as boolean (Boolean), not as Utf8",
        ),
    ];
    for (sql, wanted) in cases {
        let told = demo.ask(sql).expect(2).stderr;
        assert!(told.contains(wanted), "{sql}\n{told}");
    }
    let table = format!("t={}", demo.path("lake/transactions"));
    let told = run(&["query", "SELECT predict('card_fraud') FROM t", "--table", &table]).expect(2).stderr;
    assert!(told.contains("give --home DIR"), "{told}");
}

#[test]
fn feature_sql_of_a_job_may_not_predict() {
    let folder = TempDir::new().unwrap();
    let sql = folder.path().join("features.sql");
    std::fs::write(&sql, format!("SELECT *, predict('card_fraud') AS again FROM ({}) f", features())).unwrap();
    let job = root().join("jobs/card_fraud.toml");
    let demo = Demo::new();
    let [lake, home] = demo.sets();
    let text = format!("features.sql={:?}", sql.to_str().unwrap());
    let mut args = vec!["plan", job.to_str().unwrap(), "--interval", "2018-06-30"];
    [&lake, &home, &text].iter().for_each(|set| args.extend(["--set", set]));
    let told = run(&args).expect(2).stderr;
    assert!(told.contains("predict() is not allowed in feature SQL"), "{told}");
}
