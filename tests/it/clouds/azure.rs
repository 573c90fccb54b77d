//! Azure's store, on Azurite.

use super::azurite::{ACCOUNT, key, sas, server};
use super::{Bucket, doctor, end, faults, race, said, secrets, whole_job};
use crate::command::Outcome;
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;

const WRONG: &str = "V1JPTkdTRUNSRVQwMTIzNDU2Nzg5";
const LATER: &str = "2099-01-01T00:00:00Z";

fn project(name: &str) -> Option<Bucket> {
    Some(server()?.container(name).with_project())
}

/// The same container, with a SAS token in place of the key.
fn with_sas(mut bucket: Bucket, permissions: &str, ends: &str) -> Bucket {
    let (token, signature) = sas(permissions, ends);
    bucket.environment.retain(|(name, _)| name != "AZURE_STORAGE_ACCOUNT_KEY");
    bucket.environment.push(("AZURE_STORAGE_SAS_TOKEN".to_owned(), token));
    // As it stands in URLs, and as it is.
    let plain = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    bucket.secrets.extend([signature, plain]);
    bucket
}

#[test]
fn a_job_in_a_container_gives_the_bytes_of_the_same_job_here() {
    let Some(bucket) = project("whole-job") else { return };
    whole_job(&bucket);
}

#[test]
fn a_job_by_a_sas_token_gives_the_same_and_tells_nothing_of_it() {
    let Some(bucket) = project("whole-sas") else { return };
    let bucket = with_sas(bucket, "rwdlac", LATER);
    whole_job(&bucket);
    let expired = sas("rwdlac", "2020-01-01T00:00:00Z").0;
    let wrong = sas("rwdlac", LATER).0.replace("sig=", "sig=AAAA");
    let table = bucket.url("p/lake/transactions");
    for token in [expired, wrong] {
        let mut inspect = bucket.command(&["inspect", &table, "--log", "trace"]);
        bucket.quiet(end(inspect.env("AZURE_STORAGE_SAS_TOKEN", token).env("RUST_LOG", "trace")).expect(1));
    }
    let mut inspect = bucket.command(&["inspect", &table, "--log", "trace"]);
    bucket.quiet(end(inspect.env("RUST_LOG", "trace")).expect(0));
}

#[test]
fn of_eight_writers_of_one_interval_one_commits() {
    let Some(bucket) = project("race") else { return };
    race(&bucket);
}

#[test]
fn a_busy_server_and_a_broken_network_cost_time_and_nothing_else() {
    let Some(bucket) = project("faults") else { return };
    faults(bucket);
}

#[test]
fn no_command_tells_a_secret_whether_it_works_or_fails() {
    let Some(mut bucket) = project("secrets") else { return };
    bucket.secrets.push(WRONG.to_owned());
    secrets(&bucket, &[("AZURE_STORAGE_ACCOUNT_KEY", WRONG), ("AZURE_STORAGE_ACCOUNT_KEY", "not base64: WRONGSECRET")]);
}

#[test]
fn the_doctor_names_the_identity_and_what_it_may_do() {
    let Some(bucket) = project("doctor") else { return };
    doctor(&bucket, "account key (AZURE_STORAGE_ACCOUNT_KEY)");
    // A token that may read and no more.
    let bucket = with_sas(bucket, "rl", LATER);
    let found = bucket.run(&["doctor", &bucket.job()]).expect(1).json();
    let home = &found["places"][0];
    assert_eq!((&home["list"], &home["write"]), (&true.into(), &false.into()), "{found}");
    assert_eq!(home["identity"]["source"], "SAS token (AZURE_STORAGE_SAS_TOKEN)");
    assert_eq!(found["places"][1]["read"], true);
}

#[test]
fn a_container_has_one_name_however_it_is_written() {
    let Some(bucket) = project("names") else { return };
    let forms = [
        format!("az://{}/p/lake/transactions", "names"),
        format!("abfss://names@{ACCOUNT}.dfs.core.windows.net/p/lake/transactions"),
        format!("https://{ACCOUNT}.blob.core.windows.net/names/p/lake/transactions"),
    ];
    for form in &forms {
        let inspected = bucket.run(&["inspect", form]).expect(0).json();
        assert_eq!(inspected["location"], forms[1], "{inspected}");
    }
    // Two containers of one account in one query are two.
    let other = server().unwrap().container("names-two");
    super::runtime().block_on(async {
        other.store.put(&StorePath::from("t.csv"), "a\n1\n".into()).await.unwrap();
        bucket.store.put(&StorePath::from("t.csv"), "a\n2\n".into()).await.unwrap();
    });
    let sql = "SELECT (SELECT sum(a) FROM t) * 10 + (SELECT sum(a) FROM u) AS both";
    let args = ["query", sql, "--table", "t=az://names/t.csv", "--table", "u=az://names-two/t.csv", "--format", "csv"];
    assert_eq!(end(&mut bucket.command(&args)).expect(0).stdout, "both\n21\n");
}

#[test]
fn wrong_credentials_and_places_are_one_clear_error() {
    let Some(bucket) = project("wrong") else { return };
    let table = bucket.url("p/lake/transactions");
    let inspect = ["inspect", table.as_str()];
    let with = |name: &str, value: &str| bucket.quiet(end(bucket.command(&inspect).env(name, value)));
    let says = |outcome: Outcome, code: i32, what: &str| {
        let outcome = outcome.expect(code);
        assert!(said(&outcome).contains(what), "{what}: {}", said(&outcome));
    };
    // Azurite calls a wrong signature what Azure calls a lack of rights.
    says(with("AZURE_STORAGE_ACCOUNT_KEY", WRONG), 1, "403 AuthorizationFailure");
    says(with("AZURE_STORAGE_ACCOUNT_KEY", "?"), 2, "can't be used");
    says(with("AZURE_STORAGE_ENDPOINT", &format!("http://127.0.0.1:9/{ACCOUNT}")), 75, "no connection");
    says(with("AZURE_ALLOW_HTTP", "false"), 2, "AZURE_ALLOW_HTTP");
    says(with("AZURE_STORAGE_ACCOUNT_NAME", ""), 2, "AZURE_STORAGE_ACCOUNT_NAME");
    says(bucket.run(&["inspect", "az://no-such-container/t"]), 1, "there is no such container");
    says(bucket.run(&["inspect", "abfss://wrong@others.dfs.core.windows.net/t"]), 2, "another account");
    says(bucket.run(&["inspect", &format!("abfss://wrong:{}@h.dfs.core.windows.net/t", key())]), 2, "credentials");
    let (token, signature) = sas("rl", LATER);
    let mut bucket = bucket;
    bucket.secrets.push(signature);
    says(bucket.run(&["inspect", &format!("{table}?{token}")]), 2, "credentials");
    says(bucket.run(&["check", &bucket.url("p/jobs/none.toml")]), 2, "there is no such job file");
    bucket.environment.retain(|(name, _)| name != "AZURE_STORAGE_ACCOUNT_KEY");
    let mut nobody = bucket.command(&inspect);
    let nobody = end(nobody.env("IDENTITY_ENDPOINT", "http://127.0.0.1:9/token"));
    says(nobody, 1, "the machine's managed identity gave none");
}

/// A file that was put in several parts is whole, and a listing is complete and in order.
#[test]
fn large_files_and_long_listings_are_whole() {
    let Some(server) = server() else { return };
    let bucket = server.container("large");
    super::large_and_many(&bucket);
}
