//! A small whole project: a job without windows, its SQL, and twelve days of a demo lake.

use lakemill::demo::{Generator, Spec, write_lake};
use std::fs;
use std::path::Path;

const JOB: &str = r#"version = 1
name = "risk"
home = "home"

[tables]
transactions = { path = "lake/transactions" }

[features]
sql = "SQL_FILE"
key = ["transaction_id"]
time = "tx_datetime"
label = "tx_fraud"
label_delay = "1d"
exclude = ["customer_id"]

[model]
task = "binary"
algorithm = "logistic_regression"
seed = 7
window = "4d"
split = { by = "time", test = "2d" }

[score]
output = "predictions/risk"
passthrough = ["customer_id"]

[lookup]
store = "file"
key = "customer_id"
value = ["score", "prediction"]
keep = "latest"
"#;

const SQL: &str = "SELECT
  transaction_id,
  tx_datetime,
  customer_id,
  tx_fraud,
  tx_amount,
  extract(hour FROM tx_datetime) AS hour
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
";

/// Makes it in a folder, with job and SQL under these names.
pub fn make(folder: &Path, job: &str, sql: &str) {
    for (name, text) in [(job, JOB.replace("SQL_FILE", sql)), (sql, SQL.to_owned())] {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    // Few days are few files to copy; customers enough for some frauds on each day.
    let start = chrono::NaiveDate::from_ymd_opt(2018, 6, 1).unwrap();
    let spec = Spec { customers: 600, terminals: 1200, start, days: 12, seed: 7 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let generator = Generator::new(spec).unwrap();
    runtime.block_on(write_lake(&generator, &folder.join("lake"), &mut |_, _| {})).unwrap();
}
