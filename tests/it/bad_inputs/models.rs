//! Models that are not there, are not whole, or do not fit; the gate.

use super::place::Place;
use super::{Case, DAY, call, case, score};

const VERSION: &str = "home/models/risk/versions/000001";

fn payload(place: &Place) -> String {
    place.one(VERSION, "payload-", ".arrow")
}

fn rename(place: &Place, from: &str, to: &str) {
    std::fs::rename(place.path().join(from), place.path().join(to)).unwrap();
}

/// A command on the registry.
fn registry(name: &'static str, exit: i32, args: &[&str]) -> Case {
    case(name, exit, &[args, &["--home", "home"]].concat())
}

pub fn cases() -> Vec<Case> {
    vec![
        score("model_none_yet", 2).change(|place| place.remove("home")),
        case("model_unknown_version", 2, &["score", "job.toml", "--interval", DAY, "--model", "9"]),
        case("model_unknown_alias", 2, &["score", "job.toml", "--interval", DAY, "--model", "champoin"]),
        score("model_artifact_altered", 9)
            .change(|place| place.edit(&format!("{VERSION}/artifact.json"), "tx_amount", "tx_amuont")),
        score("model_artifact_cut_off", 9).change(|place| place.halve(&format!("{VERSION}/artifact.json"))),
        score("model_payload_cut_off", 9).change(|place| place.halve(&payload(place))),
        score("model_payload_missing", 9).change(|place| place.remove(&payload(place))),
        score("model_alias_altered", 9)
            .change(|place| place.write("home/models/risk/aliases/champion/000001.json", "{}")),
        // A library panics over the file that it can't write: nobody must see that.
        score("predictions_cannot_be_written", 1)
            .change(|place| place.write(&format!("home/predictions/risk/interval={DAY}"), "in the way")),
        score("model_champion_is_a_version_that_is_gone", 9).change(|place| place.remove(VERSION)),
        score("model_champion_is_another_version", 9)
            .change(|place| rename(place, VERSION, "home/models/risk/versions/000002")),
        registry("model_show_of_a_version_that_is_gone", 9, &["models", "show", "risk"])
            .change(|place| rename(place, VERSION, "home/models/risk/versions/000002")),
        score("model_alias_copied_from_elsewhere", 9).change(|place| {
            let record = "home/models/risk/aliases/champion/000001.json";
            rename(place, record, "home/models/risk/aliases/champion/000003.json");
        }),
        registry("model_version_is_no_name", 2, &["models", "show", "risk", "1.5"]),
        registry("model_alias_in_capitals", 2, &["models", "show", "risk", "CHAMPION"]),
        case(
            "model_to_evaluate_has_no_name",
            2,
            &["evaluate", "job.toml", "--interval", DAY, "--models", "champion,,1"],
        ),
        case("model_home_is_mistyped", 2, &["models", "list", "--home", "hoem"]),
        case("model_home_is_a_file", 2, &["models", "list", "--home", "risk.sql"]),
        score("model_lacks_a_column", 3).sql("  tx_amount,\n", ""),
        score("model_has_a_column_of_another_type", 3)
            .sql("  tx_amount,", "  CAST(tx_amount AS VARCHAR) AS tx_amount,"),
        score("model_lacks_one_column_and_has_another_retyped", 3)
            .sql("  tx_amount,\n", "")
            .sql("extract(hour FROM tx_datetime)", "'h'"),
        case(
            "model_unknown_version_to_evaluate",
            2,
            &["evaluate", "job.toml", "--interval", DAY, "--models", "champion,9"],
        ),
        registry("model_promote_unknown_version", 2, &["promote", "risk", "9"]),
        registry("model_promote_unknown_model", 2, &["promote", "rsik", "1"]),
        registry("model_nothing_to_roll_back_to", 2, &["rollback", "risk"]),
        registry("model_show_unknown", 2, &["models", "show", "rsik"]),
        registry("model_list_unknown", 2, &["models", "list", "rsik"]),
        registry("model_history_of_unknown_alias", 2, &["models", "history", "risk", "--alias", "shadow"]),
        registry("model_name_is_a_path", 2, &["models", "show", "../risk"]),
        case("model_home_is_not_given", 2, &["models", "list"]),
    ]
}

#[test]
fn a_model_under_the_threshold_is_registered_but_neither_promoted_nor_used() {
    let place = Place::new();
    place.remove("home");
    let run = ["run", "job.toml", "--interval", DAY, "--set", "gate.roc_auc={ threshold = 0.99 }"];
    let outcome = call(&place, &run).expect(5);
    assert!(outcome.stderr.starts_with("error: the gate was not passed: roc_auc: the value 0."), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("is below the threshold 0.99"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("there is no champion to score with"), "{}", outcome.stderr);
    let written = place.everything();
    assert!(written.contains_key("home/models/risk/aliases/challenger/000001.json"));
    for never in ["home/models/risk/aliases/champion/", "home/predictions/", "home/lookup/"] {
        assert!(!written.contains_key(never), "{never} was written");
    }
}

#[test]
fn a_challenger_under_the_threshold_leaves_the_champion_to_score() {
    let place = Place::new();
    let run = ["run", "job.toml", "--interval", DAY, "--retrain", "--set", "gate.roc_auc={ threshold = 0.99 }"];
    let outcome = call(&place, &run).expect(5);
    assert!(outcome.stderr.contains("the champion has scored this interval"), "{}", outcome.stderr);
    let written = place.everything();
    assert!(written.contains_key("home/models/risk/aliases/challenger/000002.json"));
    assert!(!written.contains_key("home/models/risk/aliases/champion/000002.json"));
    assert!(written.contains_key("home/lookup/risk/v=000002/"), "the champion's predictions are published");
}

#[test]
fn a_challenger_cannot_be_compared_with_a_champion_that_is_gone() {
    let place = Place::new();
    rename(&place, VERSION, "home/models/risk/versions/000007");
    let outcome = call(&place, &["train", "job.toml", "--interval", DAY, "--set", "model.seed=8"]).expect(9);
    assert!(outcome.stderr.starts_with("error: the alias means a version that is not there"), "{}", outcome.stderr);
    let written = place.everything();
    assert!(written.contains_key("home/models/risk/versions/000008/artifact.json"), "it is registered all the same");
    assert!(!written.contains_key("home/models/risk/aliases/champion/000002.json"));
    call(&place, &["promote", "risk", "8", "--home", "home"]).expect(0);
    call(&place, &["score", "job.toml", "--interval", DAY]).expect(0);
}
