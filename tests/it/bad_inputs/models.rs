//! Models that are not there, are not whole, or do not fit; the gate.

use super::place::Place;
use super::{Case, DAY, call, case, score};

const VERSION: &str = "home/models/risk/versions/000001";

fn payload(place: &Place) -> String {
    place.one(VERSION, "payload-", ".arrow")
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
