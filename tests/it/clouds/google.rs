//! Google's store, played by a server of this binary.

use super::google_server::{ACCOUNT, Google, HANDED_OUT, TESTER, make_key};
use super::{Bucket, doctor, end, faults, large_and_many, race, said, secrets, whole_job};
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

static SERVER: LazyLock<(Arc<Google>, u16)> = LazyLock::new(Google::start);

/// A file as Google's console gives it, with the key in `key.pem` of the same folder.
fn account_file(folder: &Path, key: &str) -> (String, String) {
    let pem = std::fs::read_to_string(folder.join(key)).unwrap();
    let text = serde_json::json!({
        "type": "service_account", "project_id": "acme", "private_key_id": "1", "private_key": pem,
        "client_email": ACCOUNT, "token_uri": "https://oauth2.googleapis.com/token",
    });
    let file = folder.join(format!("{key}.json"));
    std::fs::write(&file, text.to_string()).unwrap();
    // A line from the middle of the key.
    (file.display().to_string(), pem.lines().nth(10).unwrap().to_owned())
}

fn bucket_of(google: &Google, port: u16, name: &str) -> Bucket {
    google.make(name);
    let (file, secret) = account_file(google.folder.path(), "key.pem");
    let tester = GcpCredential { bearer: TESTER.to_owned() };
    let url = format!("http://127.0.0.1:{port}");
    let store = GoogleCloudStorageBuilder::new()
        .with_base_url(&url)
        .with_bucket_name(name)
        .with_credentials(Arc::new(StaticCredentialProvider::new(tester)))
        .build()
        .unwrap();
    let environment =
        [("GOOGLE_BASE_URL", url.as_str()), ("GOOGLE_ALLOW_HTTP", "true"), ("GOOGLE_APPLICATION_CREDENTIALS", &file)];
    Bucket {
        store: Arc::new(store),
        root: format!("gs://{name}"),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        endpoint: "GOOGLE_BASE_URL",
        attempts: "GOOGLE_MAX_ATTEMPTS",
        port,
        cache: tempfile::tempdir().unwrap(),
        // What every token of a service account begins with: `{"alg":"RS256"` or `{"typ":"JWT"`.
        secrets: vec![secret, "eyJhbGci".to_owned(), "eyJ0eXAi".to_owned()],
    }
}

fn bucket(name: &str) -> Bucket {
    bucket_of(&SERVER.0, SERVER.1, name)
}

#[test]
fn a_job_in_a_bucket_gives_the_bytes_of_the_same_job_here() {
    whole_job(&bucket("whole-job").with_project());
}

#[test]
fn of_eight_writers_of_one_interval_one_commits() {
    race(&bucket("race").with_project());
}

#[test]
fn a_busy_server_and_a_broken_network_cost_time_and_nothing_else() {
    faults(bucket("faults").with_project());
}

#[test]
fn large_files_and_long_listings_are_whole() {
    large_and_many(&bucket("large"));
}

#[test]
fn no_command_tells_a_secret_whether_it_works_or_fails() {
    let mut bucket = bucket("secrets").with_project();
    let folder = tempfile::tempdir().unwrap();
    make_key(&folder, "other.pem");
    let (other, secret) = account_file(folder.path(), "other.pem");
    let key = std::fs::read_to_string(&other).unwrap();
    std::fs::write(folder.path().join("broken.json"), &key[..key.len() - 40]).unwrap();
    let broken = folder.path().join("broken.json").display().to_string();
    bucket.secrets.push(secret);
    secrets(&bucket, &[("GOOGLE_APPLICATION_CREDENTIALS", &other), ("GOOGLE_APPLICATION_CREDENTIALS", &broken)]);
}

#[test]
fn the_doctor_names_the_identity_and_what_it_may_do() {
    let bucket = bucket("doctor").with_project();
    doctor(&bucket, &format!("service account {ACCOUNT} (GOOGLE_APPLICATION_CREDENTIALS)"));
}

#[test]
fn wrong_credentials_and_places_are_one_clear_error() {
    let bucket = bucket("wrong").with_project();
    let table = bucket.url("p/lake/transactions");
    let inspect = ["inspect", table.as_str()];
    let says = |name: &str, value: &str, code: i32, what: &str| {
        let outcome = bucket.quiet(end(bucket.command(&inspect).env(name, value))).expect(code);
        assert!(said(&outcome).contains(what), "{what}: {}", said(&outcome));
    };
    let folder = tempfile::tempdir().unwrap();
    make_key(&folder, "other.pem");
    let other = account_file(folder.path(), "other.pem").0;
    says("GOOGLE_APPLICATION_CREDENTIALS", &other, 1, "does not accept the credentials");
    says("GOOGLE_APPLICATION_CREDENTIALS", "/none", 2, "can't be read");
    says("GOOGLE_SKIP_SIGNATURE", "true", 1, "does not accept the credentials");
    says("GOOGLE_BASE_URL", "http://127.0.0.1:9", 75, "no connection");
    says("GOOGLE_ALLOW_HTTP", "false", 2, "GOOGLE_ALLOW_HTTP");
    for (place, code, what) in [
        ("gs://no-such-bucket/t", 1, "there is no such bucket"),
        ("gs://user:HIDDEN@wrong/t", 2, "credentials do not belong"),
        ("gs://wrong/t?x=HIDDEN", 2, "nothing else"),
    ] {
        let outcome = bucket.run(&["inspect", place]).expect(code);
        assert!(said(&outcome).contains(what) && !said(&outcome).contains("HIDDEN"), "{what}: {}", said(&outcome));
    }
}

/// Its own server, so that what it was asked is known.
#[test]
fn the_account_of_a_machine_is_asked_for_and_never_takes_anothers_place() {
    let (google, port) = Google::start();
    let mut bucket = bucket_of(&google, port, "machine").with_project();
    bucket.secrets.push(HANDED_OUT.to_owned());
    let key = bucket.environment.pop().unwrap();
    let host = format!("127.0.0.1:{port}");
    for name in ["GCE_METADATA_HOST", "GCE_METADATA_IP"] {
        bucket.environment.push((name.to_owned(), host.clone()));
    }
    doctor(&bucket, "the machine's service account (metadata server)");
    let asked = || {
        let asked = google.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path.starts_with("/computeMetadata/")).count()
    };
    assert!(asked() > 0);
    google.refuse.store(404, Ordering::SeqCst);
    let refused = bucket.run(&["inspect", &bucket.url("p/lake/transactions")]).expect(1);
    assert!(refused.stderr.contains("(metadata server) gave none"), "{}", refused.stderr);

    // A key that was named and is wrong: the machine, which would be let in, is not asked.
    google.refuse.store(0, Ordering::SeqCst);
    let before = asked();
    for wrong in ["/none", key.1.trim_end_matches(".json")] {
        let mut inspect = bucket.command(&["inspect", &bucket.url("p/lake/transactions")]);
        bucket.quiet(end(inspect.env("GOOGLE_APPLICATION_CREDENTIALS", wrong)).expect(2));
    }
    assert_eq!(asked(), before);
}
