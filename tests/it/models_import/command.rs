//! `lakemill models import`: what is shown, what is registered, and scoring with it.

use super::made::{lightgbm, stump, xgboost, xgboost_stump};
use crate::bad_inputs::call;
use crate::bad_inputs::place::Place;
use crate::command::Outcome;
use serde_json::{Value, json};

/// Amounts above 50 get 1 / (1 + exp(-2)), others 1 / (1 + exp(-1)).
fn model() -> Vec<u8> {
    lightgbm(2, 1, "objective=binary sigmoid:1", &[&stump(2, "50")], "")
}

fn import(place: &Place, more: &[&str]) -> Outcome {
    let args = ["models", "import", "risk", "model.txt", "--home", "home", "--output", "json"];
    call(place, &[&args, more].concat())
}

fn place() -> Place {
    let place = Place::new();
    std::fs::write(place.path().join("model.txt"), model()).unwrap();
    place.write("rows.csv", "hour,tx_amount\n1,10.5\n2,50.0\n3,50.25\n4,\n");
    place.write("good.csv", "p\n0.7310585786300049\n0.7310585786300049\n0.8807970779778823\n0.7310585786300049\n");
    place.write("wrong.csv", "p\n0.7310585786300049\n0.7310585786300049\n0.88\n0.7310585786300049\n");
    place
}

const CHECK: &[&str] = &["--features", "tx_amount,hour", "--check", "rows.csv", "--expected", "good.csv"];

fn versions(place: &Place) -> usize {
    let listed = call(place, &["models", "list", "risk", "--home", "home", "--output", "json"]).expect(0).json();
    listed.as_array().unwrap().len()
}

#[test]
fn a_model_is_registered_once_it_is_shown_to_predict_the_same() {
    let place = place();
    let before = versions(&place);
    let wrong =
        import(&place, &["--features", "tx_amount,hour", "--check", "rows.csv", "--expected", "wrong.csv"]).expect(9);
    assert!(wrong.stderr.contains("1 of 4") && wrong.stderr.contains("row = 2"), "{}", wrong.stderr);
    assert_eq!(versions(&place), before);

    let imported = import(&place, CHECK).expect(0).json();
    assert_eq!((&imported["champion"], &imported["task"]), (&json!(false), &json!("binary")), "there is a champion");
    assert_eq!(imported["origin"]["parity"]["rows"], 4);
    assert_eq!(imported["columns"][0]["name"], "tx_amount");
    // The same file again is the same version.
    let again = import(&place, CHECK).expect(0).json();
    assert_eq!(again["version"], imported["version"]);
    assert_eq!(versions(&place), before + 1);
    let card = call(&place, &["models", "show", "risk", "challenger", "--home", "home"]).expect(0).stdout;
    for told in
        ["model.txt", imported["origin"]["sha256"].as_str().unwrap(), "lightgbm", "On 4 rows", "models import risk"]
    {
        assert!(card.contains(told), "{told}\n{card}");
    }
    assert!(!card.contains("Quality"), "{card}");
}

#[test]
fn the_first_model_of_a_home_is_the_champion() {
    let place = place();
    let args = ["models", "import", "risk", "model.txt", "--home", "another", "--features", "tx_amount,hour"];
    let told = call(&place, &args).expect(0);
    assert!(told.stdout.contains("is the champion, the first"), "{}", told.stdout);
    assert!(told.stdout.contains("parity: not shown"), "{}", told.stdout);
    let aliases =
        call(&place, &["models", "history", "risk", "--home", "another", "--output", "json"]).expect(0).json();
    assert_eq!(aliases[0]["why"], "the first model, imported");
}

#[test]
fn a_job_scores_with_an_imported_model() {
    let place = place();
    import(&place, CHECK).expect(0);
    let score = |more: &[&str]| {
        let args = ["score", "job.toml", "--interval", "2018-06-11", "--model", "challenger", "--output", "json"];
        call(&place, &[&args, more].concat())
    };
    let receipt = score(&[]).expect(0).json();
    assert_eq!(receipt["data"]["sql_as_trained"], Value::Null);
    let query = |sql: &str| {
        let tables = ["--table", "p=home/predictions/risk", "--table", "t=lake/transactions", "--format", "csv"];
        call(&place, &[&["query", sql], &tables[..]].concat()).expect(0).stdout
    };
    let wrong = query(
        "SELECT count(*) AS n FROM p JOIN t USING (transaction_id) WHERE p.\"interval\" = '2018-06-11' AND \
         abs(score - CASE WHEN tx_amount > 50 THEN 0.8807970779778823 ELSE 0.7310585786300049 END) > 1e-15",
    );
    assert_eq!(wrong, "n\n0\n");
    // Again is a no-op; computed again, the bytes are the same.
    assert_eq!(score(&[]).expect(0).json()["status"], "noop");
    score(&["--force"]).expect(0);
    // On labelled rows it is compared with the trained one, by the job's SQL.
    let args =
        ["evaluate", "job.toml", "--interval", "2018-06-10", "--models", "champion,challenger", "--output", "json"];
    let evaluation = call(&place, &args);
    assert!(evaluation.code == 0 || evaluation.stderr.contains("same classes"), "{}", evaluation.stderr);
}

#[test]
fn what_can_not_be_meant_is_refused_and_nothing_is_registered() {
    let place = place();
    let before = versions(&place);
    std::fs::write(
        place.path().join("other.json"),
        xgboost("reg:squarederror", "0", vec![xgboost_stump(0.0, 1)]).to_string(),
    )
    .unwrap();
    let refused = |args: &[&str], code: i32, told: &str| {
        let outcome = call(&place, &[&["models", "import", "risk"], args, &["--home", "home"]].concat()).expect(code);
        assert!(outcome.stderr.contains(told), "{told}\n{}", outcome.stderr);
    };
    refused(&["model.txt"], 2, "does not name its features");
    refused(&["model.txt", "--features", "tx_amount"], 2, "another number of features");
    refused(&["model.txt", "--features", "tx_amount,tx_amount"], 2, "named for two features");
    refused(&["nowhere.txt", "--features", "a,b"], 2, "no such model file");
    refused(&["lake", "--features", "a,b"], 2, "a folder");
    refused(&["rows.csv", "--features", "a,b"], 2, "no model of a known format");
    refused(
        &["model.txt", "--features", "tx_amount,minute", "--check", "rows.csv", "--expected", "good.csv"],
        3,
        "`minute` is missing",
    );
    refused(
        &[
            "model.txt",
            "--features",
            "tx_amount,hour",
            "--check",
            "rows.csv",
            "--expected",
            "rows.csv",
            "--classes",
            "a,b,c",
        ],
        2,
        "number of classes",
    );
    refused(&["model.txt", "--features", "tx_amount,hour", "--check", "rows.csv"], 2, "--expected");
    refused(&["model.txt", "--features", "tx_amount,hour", "--rounds", "none"], 2, "whole number");
    assert_eq!(versions(&place), before);
    // A value is not what the job says; that is told before anything is scored.
    call(&place, &["models", "import", "risk", "other.json", "--features", "tx_amount,hour", "--home", "home"])
        .expect(0);
    let args = ["score", "job.toml", "--interval", "2018-06-11", "--model", "challenger"];
    assert!(call(&place, &args).expect(2).stderr.contains("task = \"regression\""));
}
