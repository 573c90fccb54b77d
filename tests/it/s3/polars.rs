//! Polars reads a bucket through the lake's own store, and tells no secret when that fails.

use super::server::{self, KEY, SECRET};
use super::{DAY, project, said};
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;

#[test]
fn a_job_of_polars_in_a_bucket_gives_the_predictions_of_datafusion() {
    let Some(bucket) = project("polars") else { return };
    // The keys stand in a profile alone, where Polars' own search for them would not find any.
    let profiles = bucket.cache().join("credentials");
    let keys = format!("[polars]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(&profiles, keys).unwrap();
    let run = |engine: &str, home: &str| {
        let (home, engine) = (format!("home={}", bucket.url(home)), format!("features.engine={engine}"));
        let job = bucket.job();
        let mut command = bucket.command(&["run", &job, "--interval", DAY, "--set", &engine, "--set", &home]);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.env("AWS_SHARED_CREDENTIALS_FILE", &profiles).env("AWS_PROFILE", "polars").args(["--output", "json"]);
        super::end(&mut command)
    };
    let (one, two) = (run("datafusion", "p/one").expect(0).json(), run("polars", "p/two").expect(0).json());
    assert!(one["rows_out"].as_u64().is_some_and(|rows| rows > 100), "{one}");
    assert_eq!(one["rows_out"], two["rows_out"]);
    assert_eq!(one["lookup"]["keys"], two["lookup"]["keys"]);

    let args = ["--set", "features.engine=polars"];
    let planned = bucket.on_day("plan", &args).expect(0).json();
    assert_eq!(planned["tables"][0]["polars"]["natively"], true, "{planned}");

    // A file that the log names and the bucket has no more.
    let lost = bucket
        .names("p/lake/transactions")
        .into_iter()
        .find(|name| name.contains("2018-06-10") && name.ends_with(".parquet"));
    let lost = StorePath::from(lost.unwrap());
    server::runtime().block_on(bucket.store().delete(&lost)).unwrap();
    let failed = run("polars", "p/three").expect(1);
    assert!(said(&failed).contains("2018-06-10"), "{}", said(&failed));
    assert!(!said(&failed).contains(SECRET) && !said(&failed).contains(KEY), "{}", said(&failed));
}
