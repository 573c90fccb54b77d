//! schemathesis, which makes requests of the OpenAPI document, good ones and bad ones.
//!
//! Runs where `schemathesis` is installed (`pip install schemathesis`; `LAKEMILL_SCHEMATHESIS` tells where); `.ci/run`
//! installs it.

use super::server::{Server, config, publish};
use crate::shared::skipped;
use std::process::Command;
use tempfile::tempdir;

/// Examples of each operation, fixed so that a run can be repeated.
const EXAMPLES: &str = "60";

#[test]
fn schemathesis_finds_nothing_in_what_the_document_promises() {
    let tool = std::env::var("LAKEMILL_SCHEMATHESIS").unwrap_or_else(|_| "schemathesis".to_owned());
    if Command::new(&tool).arg("--version").output().is_err() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "schemathesis is not installed, and in CI no test is skipped");
        return skipped("schemathesis is not installed (pip install schemathesis)");
    }
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42", "7"], 0.5, 1);
    publish(home.path(), "delays", &["a"], 0.5, 1);
    let tokens = home.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef0123456789abcdef\n").unwrap();
    let tables = "[tables.fraud]\nstale_after = \"36h\"\nfallback = { score = 0.0 }\n[tables.delays]\n[tables.both]\n\
                  split = { a = 1, b = 1 }\narms = { a = \"fraud\", b = \"delays\" }\n[limits]\nkeys = 20\n";
    let file = config(home.path(), tables);
    let server = Server::start(home.path(), &["--config", &file, "--token-file", tokens.to_str().unwrap()]);
    let output = Command::new(&tool)
        .arg("run")
        .arg(format!("http://{}/openapi.json", server.address))
        .args(["--header", "Authorization: Bearer 0123456789abcdef0123456789abcdef", "--seed", "7"])
        .args(["--max-examples", EXAMPLES, "--checks", CHECKS, "--no-color"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    server.get("/health").expect(200);
}

/// Left out is whether everything that fits the schema is accepted: no schema can say how many bytes a text has.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth";
