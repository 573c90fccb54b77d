//! Job files: every mistake with its place, overrides, the environment, and what fingerprints see.
//!
//! `cases/job` holds one job file a case and, in `.expected`, all that the check says about it. Lines
//! `#--set key=value` at the top of a case are its overrides. `LAKEMILL_BLESS=1` rewrites the
//! expectations; read the difference before you keep it.

use lakemill::error::{Error, ErrorKind};
use lakemill::job::{self, AlgorithmWords, Checked, Diagnostic, JobFile, MetricWords, Split, VarValue, Vocabulary};
use lakemill::task::Task;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases/job")
}

fn environment(name: &str) -> Option<String> {
    match name {
        "BUCKET" => Some("acme".to_owned()),
        "REDIS_HOST" => Some("cache.example".to_owned()),
        "REDIS_PASSWORD" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn check_params(algorithm: &str, params: &Map<String, Value>) -> Result<(), Error> {
    match params.get("l2").and_then(Value::as_f64) {
        Some(l2) if algorithm == "logistic_regression" && l2 < 0.0 => {
            Err(Error::usage("must be zero or more").with("parameter", "l2").hint("0 means no penalty"))
        }
        _ => Ok(()),
    }
}

fn metric(name: &'static str, tasks: &'static [Task], range: (f64, f64)) -> MetricWords {
    MetricWords { name, tasks, greater_is_better: name == "roc_auc", range }
}

fn vocabulary() -> Vocabulary<'static> {
    let params = json!({
        "type": "object",
        "properties": {
            "max_iterations": { "type": "integer", "minimum": 1, "description": "The most steps that the fit makes." },
            "l2": { "type": ["number", "null"], "description": "The strength of the penalty." }
        },
        "additionalProperties": false
    });
    let algorithm = |name, tasks, takes_weights| AlgorithmWords { name, tasks, takes_weights, params: params.clone() };
    let classes: &[Task] = &[Task::Binary, Task::Multiclass];
    Vocabulary {
        algorithms: vec![
            algorithm("logistic_regression", classes, true),
            algorithm("linear_regression", &[Task::Regression], true),
            algorithm("random_forest", &[Task::Binary, Task::Multiclass, Task::Regression], false),
        ],
        metrics: vec![
            metric("roc_auc", &[Task::Binary], (0.0, 1.0)),
            metric("log_loss", classes, (0.0, f64::INFINITY)),
            metric("brier", &[Task::Binary], (0.0, 2.0)),
            metric("rmse", &[Task::Regression], (0.0, f64::INFINITY)),
        ],
        check_params: &check_params,
    }
}

fn overrides_of(text: &str) -> Vec<String> {
    text.lines().map_while(|line| line.strip_prefix("#--set ")).map(str::to_owned).collect()
}

fn check_case(path: &Path) -> Checked {
    let overrides = overrides_of(&fs::read_to_string(path).unwrap());
    job::check(path, &overrides, &environment, &vocabulary())
}

fn load(name: &str, overrides: &[&str]) -> Result<JobFile, Error> {
    let overrides: Vec<String> = overrides.iter().map(|one| (*one).to_owned()).collect();
    job::load(&folder().join(name), &overrides, &environment, &vocabulary())
}

/// What a case is expected to give: the mistakes as they are shown, or the three canonical texts.
fn outcome(checked: &Checked) -> String {
    let shown = match &checked.job {
        Some(job) => {
            let spec = &job.spec;
            format!("{}\n{}\n{}", spec.normalized_json(), spec.training_json(), spec.scoring_json())
        }
        None => checked.diagnostics.to_string(),
    };
    shown.replace(&format!("{}/", folder().display()), "") + "\n"
}

fn cases() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_gives_what_is_expected() {
    let bless = std::env::var_os("LAKEMILL_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let found = outcome(&check_case(&path));
        let expected = path.with_extension("expected");
        if bless {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn good_cases_are_good_and_bad_ones_are_usage_errors() {
    for path in cases() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let checked = check_case(&path);
        assert_eq!(checked.job.is_some(), name.starts_with("good_"), "{name}");
        assert_eq!(checked.job.is_none(), checked.diagnostics.has_errors(), "{name}");
        if checked.job.is_none() {
            assert_eq!(checked.diagnostics.into_error().kind(), ErrorKind::Usage, "{name}");
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    for path in cases() {
        let checked = check_case(&path);
        let json = serde_json::to_string(&checked.diagnostics).unwrap();
        let spec = checked.job.as_ref().map(|job| format!("{job:?}{}", serde_json::to_string(&job.spec).unwrap()));
        let shown = format!("{}{:?}{json}{spec:?}", checked.diagnostics, checked.diagnostics);
        assert!(!shown.contains("hunter2"), "{}: {shown}", path.display());
    }
}

#[test]
fn the_environment_is_put_in_but_kept_out_of_what_is_shown() {
    let job = load("good_full.toml", &[]).unwrap();
    let store = &job.spec.lookup.as_ref().unwrap().store;
    assert_eq!(store.value(), "redis://u:hunter2@cache.example/0");
    assert_eq!(store.to_string(), "redis://u:${REDIS_PASSWORD}@${REDIS_HOST}/0");
    assert_eq!(job.spec.home.value(), "s3://acme/lake");
    assert!(job.spec.normalized_json().contains("s3://${BUCKET}/lake"));
}

#[test]
fn overrides_come_after_the_file() {
    let job =
        load("good_overridden.toml", &["model.seed=11", "vars.limit=7", "vars.word=7 dwarfs", "model.window=36h"])
            .unwrap();
    assert_eq!(job.spec.model.seed, 11);
    assert_eq!(job.spec.vars["limit"], VarValue::Integer(7));
    assert_eq!(job.spec.vars["word"], VarValue::String("7 dwarfs".to_owned()));
    assert_eq!(job.spec.model.window.to_string(), "1d12h");
    let later = load("good_least.toml", &["model.seed=1", "model.seed=2"]).unwrap();
    assert_eq!(later.spec.model.seed, 2);
    let split = load("good_least.toml", &["model.split={by=\"hash\", test=0.25}"]).unwrap().spec.model.split;
    assert_eq!(split, Split::Hash { test: 0.25 });
}

#[test]
fn defaults_are_those_that_are_documented() {
    let spec = load("good_least.toml", &[]).unwrap().spec;
    assert_eq!((spec.model.seed, spec.model.encoder.max_categories), (7, 100));
    assert_eq!((spec.evaluate.threshold, spec.evaluate.at_precision, spec.evaluate.confidence), (0.5, 0.9, 0.95));
    assert_eq!((spec.evaluate.k_per_day, spec.evaluate.resamples), (100, 200));
    assert_eq!(spec.output(), "predictions/card_fraud");
    assert!(spec.lookup.is_none() && spec.gate.is_empty());
}

#[test]
fn a_job_written_in_another_way_has_the_same_canonical_text() {
    let plain = load("good_least.toml", &[]).unwrap().spec;
    let same = load("good_least.toml", &["model.window=168h", "model.seed=7", "evaluate.threshold=0.5"]).unwrap().spec;
    assert_eq!(plain.normalized_json(), same.normalized_json());
    let gated = load("good_least.toml", &["gate.roc_auc.threshold=0.8"]).unwrap().spec;
    assert_ne!(plain.normalized_json(), gated.normalized_json());
    assert_eq!(plain.training_json(), gated.training_json());
    assert_eq!(plain.scoring_json(), gated.scoring_json());
}

#[test]
fn each_fingerprint_sees_what_decides_its_outcome() {
    let plain = load("good_least.toml", &[]).unwrap().spec;
    // What is changed, whether a training sees it, whether a scoring sees it.
    for (change, training, scoring) in [
        ("vars.limit=3", true, true),
        ("features.exclude=[\"note\"]", true, true),
        ("model.seed=8", true, false),
        ("model.params.l2=0.5", true, false),
        ("features.label_delay=\"8d\"", true, false),
        ("evaluate.resamples=50", true, false),
        ("evaluate.threshold=0.7", true, true),
        ("score.output=predictions/other", false, true),
        // What is carried beside the predictions is no feature.
        ("score.passthrough=[\"customer_id\"]", true, true),
        ("home=elsewhere", false, false),
        ("tables.transactions.path=elsewhere", false, false),
    ] {
        let changed = load("good_least.toml", &[change]).unwrap().spec;
        assert_eq!(plain.training_json() != changed.training_json(), training, "training: {change}");
        assert_eq!(plain.scoring_json() != changed.scoring_json(), scoring, "scoring: {change}");
    }
}

#[test]
fn the_project_root_is_the_folder_of_the_job_or_the_one_above_jobs() {
    let project = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder().join("good_least.toml")).unwrap();
    for folder in ["jobs", "sql"] {
        fs::create_dir(project.path().join(folder)).unwrap();
    }
    fs::write(project.path().join("sql/features.sql"), "SELECT 1").unwrap();
    for place in ["card_fraud.toml", "jobs/card_fraud.toml"] {
        let path = project.path().join(place);
        fs::write(&path, &text).unwrap();
        let job = job::load(&path, &[], &environment, &vocabulary()).unwrap();
        assert_eq!(job.root, project.path());
        assert_eq!(job.sql_path, project.path().join("sql/features.sql"));
        assert_eq!((job.sql_text.as_str(), &job.text), ("SELECT 1", &text));
    }
}

#[test]
fn files_that_cannot_be_read_are_mistakes_too() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        let checked = job::check(path, &[], &environment, &vocabulary());
        checked.diagnostics.to_string().lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(message(&folder.path().join("none.toml")), "error: there is no such job file");
    assert_eq!(message(folder.path()), "error: this is a folder, not a job file");
    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"version = 1\nname = \"caf\xe9\"\n").unwrap();
    assert_eq!(message(&latin), "error: the job file is not UTF-8");
    let checked = job::check(&latin, &[], &environment, &vocabulary());
    let place = checked.diagnostics.iter().next().map(|one| (one.line, one.column));
    assert_eq!(place, Some((2, 12)));
}

#[test]
fn depth_without_end_is_a_mistake_and_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep.toml");
    let keys = vec!["a"; 50_000].join(".");
    for text in [
        format!("vars.{keys} = 1"),
        format!("[vars.{keys}]\nx = 1"),
        format!("x = {}", "[".repeat(50_000)),
        format!("x = {}", "{a=".repeat(50_000)),
    ] {
        fs::write(&path, &text).unwrap();
        let overrides = [text.replace(['[', ']'], "").replace('\n', "=")];
        for overrides in [&overrides[..], &[]] {
            assert!(job::check(&path, overrides, &environment, &vocabulary()).diagnostics.has_errors());
        }
    }
}

#[test]
fn mistakes_of_the_sql_take_their_place_among_the_others() {
    let mut checked = check_case(&folder().join("no_label.toml"));
    let sql = checked.sql.unwrap();
    let file = sql.path.display().to_string();
    checked.diagnostics.push(
        Diagnostic::at_line(file, &sql.text, 2, 6, "there is no table `transaction`")
            .hint("did you mean `transactions`?"),
    );
    let error = checked.diagnostics.into_error();
    assert!(error.message().starts_with("2 mistakes in the job\n\nerror: missing key `label`"), "{error}");
    assert!(
        error.message().ends_with(
            "features.sql:2:6\n  |\n2 | FROM transactions\n  |      ^\n  = hint: did you mean `transactions`?"
        )
    );
}

#[test]
fn diagnostics_are_one_json_array() {
    let checked = check_case(&folder().join("unknown_key.toml"));
    let mut found = serde_json::to_value(&checked.diagnostics).unwrap();
    found[0]["file"] = json!("unknown_key.toml");
    assert_eq!(
        found,
        json!([{
            "severity": "error", "file": "unknown_key.toml", "line": 18, "column": 1, "width": 5,
            "message": "unknown key `seeed` in `model`", "hint": "did you mean `seed`?", "snippet": "seeed = 3"
        }])
    );
}

/// Texts that are nearly job files: a good one with a few places replaced.
fn mutated() -> impl Strategy<Value = String> {
    let good = fs::read_to_string(folder().join("good_full.toml")).unwrap();
    let piece = prop_oneof![
        Just(String::new()),
        "[\\[\\]{}=.,\"'#\n\t $&@:/]{1,3}",
        "\\PC{0,4}",
        Just("\"${".to_owned()),
        Just("://u:p@".to_owned()),
        Just("1e999".to_owned()),
        Just("2018-06-01".to_owned()),
        Just("\u{feff}\u{0}\r".to_owned()),
        Just("\"\"\"".to_owned()),
    ];
    proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, piece), 1..5).prop_map(move |edits| {
        let mut text: Vec<char> = good.chars().collect();
        for (at, length, piece) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_check_panic_or_disagree_with_serde(text in mutated(), over in "(model|vars|tables)?[.a-z\"]{0,8}=?\\PC{0,8}") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.toml");
        fs::write(&path, &text).unwrap();
        fs::create_dir(folder.path().join("sql")).unwrap();
        fs::write(folder.path().join("sql/features.sql"), "SELECT 1").unwrap();
        for overrides in [vec![], vec![over]] {
            let checked = job::check(&path, &overrides, &environment, &vocabulary());
            prop_assert_eq!(checked.job.is_none(), checked.diagnostics.has_errors());
            for diagnostic in &checked.diagnostics {
                prop_assert!(!diagnostic.message.starts_with("not a job"), "{}", diagnostic);
                prop_assert!(!diagnostic.to_string().contains("hunter2"));
            }
        }
    }
}
