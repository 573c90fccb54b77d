//! Searches for hyperparameters, end to end: the same winner and bytes at any number of threads, what a time limit
//! leaves out, and what is told of them.

use crate::bad_inputs::{Place, call};
use crate::command::{Outcome, files};
use serde_json::{Value, json};

/// The job with another model, in a home of its own.
fn job(model: &str) -> Place {
    let place = Place::new();
    place.edit("job.toml", "home = \"home\"", "home = \"own\"");
    place.edit("job.toml", "algorithm = \"logistic_regression\"\n", "");
    place.edit("job.toml", "seed = 7\n", &format!("seed = 7\n{model}\n"));
    // Eight days, so that halves of them are some.
    place.edit("job.toml", "window = \"4d\"", "window = \"6d\"");
    place
}

fn boosting(search: &str) -> Place {
    let place = job("algorithm = \"gradient_boosting\"\nclass_weight = \"balanced\"");
    let params = "[model.params]\ntrees = 15\nearly_stopping_rounds = 3\n";
    place.edit("job.toml", "[score]", &format!("{params}\n{search}\n[score]"));
    place
}

const RANDOM: &str = "[model.search]
method = \"random\"
settings = 5
folds = 3
metric = \"average_precision\"
[model.search.space]
leaves = { from = 4, to = 12 }
learning_rate = { from = 0.05, to = 0.5, scale = \"log\" }
validation = [0.0, 0.2]
";

fn train(place: &Place, more: &[&str]) -> Outcome {
    let args = ["train", "job.toml", "--interval", "2018-06-11", "--output", "json"];
    call(place, &[&args, more].concat())
}

fn artifact(place: &Place, version: u64) -> Value {
    let file = format!("own/models/risk/versions/{version:06}/artifact.json");
    serde_json::from_slice::<Value>(&place.read(&file)).unwrap()["artifact"].clone()
}

fn payload(place: &Place, version: u64) -> Vec<u8> {
    let folder = place.path().join(format!("own/models/risk/versions/{version:06}"));
    let all = files(&folder);
    all.into_iter().find(|(name, _)| name.starts_with("payload")).unwrap().1
}

/// Trains with 1, 2 and 7 threads, and once more; gives the artifact.
fn the_same_everywhere(make: impl Fn() -> Place) -> (Place, Value) {
    let (mut places, mut all) = (Vec::new(), Vec::new());
    for (threads, memory) in [("1", "2GiB"), ("2", "320MiB"), ("7", "2GiB")] {
        let place = make();
        let first = train(&place, &["--threads", threads, "--memory", memory]).expect(0).json();
        assert_eq!(first["status"], "done");
        let again = train(&place, &["--threads", threads, "--memory", memory, "--force"]).expect(0).json();
        assert_eq!(again["model"]["version"], 1, "the same inputs, the same model");
        assert_eq!(again["data"]["search"], first["data"]["search"], "and the same search");
        all.push((files(&place.path().join("own/models/risk/versions")), first["data"]["search"].to_string()));
        places.push(place);
    }
    assert!(all[0] == all[1] && all[0] == all[2]);
    let place = places.swap_remove(0);
    let artifact = artifact(&place, 1);
    (place, artifact)
}

/// What is told of a search holds together.
fn is_sound(artifact: &Value, greater_is_better: bool) {
    let search = &artifact["search"];
    let (tried, folds) = (search["tried"].as_array().unwrap(), search["folds"].as_u64().unwrap() as usize);
    let mean = |setting: &Value| setting["mean"].as_f64();
    for setting in tried.iter().filter(|setting| setting["failed"].is_null()) {
        let values: Vec<f64> =
            setting["folds"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!(values.len(), folds);
        assert!((values.iter().sum::<f64>() / folds as f64 - mean(setting).unwrap()).abs() < 1e-12);
        assert!(setting["deviation"].as_f64().unwrap() >= 0.0);
    }
    let chosen = &tried[search["chosen"].as_u64().unwrap() as usize];
    let best = mean(chosen).unwrap();
    let signed = |value: f64| if greater_is_better { value } else { -value };
    assert!(tried.iter().filter_map(mean).all(|other| signed(other) <= signed(best)));
    let first = tried.iter().find(|setting| mean(setting) == Some(best)).unwrap();
    assert_eq!(first, chosen, "the first among equals");
    for (name, value) in chosen["params"].as_object().unwrap() {
        assert_eq!(&artifact["params"][name], value, "{name}");
    }
}

#[test]
fn boosted_settings_give_the_same_winner_and_bytes() {
    let (place, artifact) = the_same_everywhere(|| boosting(RANDOM));
    is_sound(&artifact, true);
    let search = &artifact["search"];
    assert_eq!((&search["settings"], search["tried"].as_array().unwrap().len()), (&json!(5), 5));
    let values: Vec<String> = search["tried"].as_array().unwrap().iter().map(|own| own["folds"].to_string()).collect();
    assert!(values.iter().any(|own| own != &values[0]), "settings differ: {values:?}");
    assert_eq!(artifact["params"]["trees"], 15, "what is not searched stays");
    let card = String::from_utf8(place.read("own/models/risk/versions/000001/card.md")).unwrap();
    for told in ["## Search", "5 of 5 settings (random)", "| setting | parameters | average_precision |"] {
        assert!(card.contains(told), "`{told}` is missing:\n{card}");
    }
    let text = call(&place, &["train", "job.toml", "--interval", "2018-06-11", "--force"]).expect(0).stdout;
    assert!(text.contains("search: 5 of 5 settings tried, on 3 folds; best average_precision"), "{text}");

    // The winner has learned from all training rows, early stopping as its own setting says: as if it had been written.
    let winner = artifact["params"].as_object().unwrap();
    let written: Vec<String> = winner.iter().map(|(name, value)| format!("model.params.{name}={value}")).collect();
    let plain = boosting("");
    let sets: Vec<&str> = written.iter().flat_map(|set| ["--set", set.as_str()]).collect();
    train(&plain, &sets).expect(0);
    assert_eq!(payload(&plain, 1), payload(&place, 1));
}

#[test]
fn dense_settings_on_folds_of_keys_give_the_same_winner_and_bytes() {
    let make = || {
        let place = job("algorithm = \"random_forest\"");
        place.edit("job.toml", "split = { by = \"time\", test = \"2d\" }", "split = { by = \"hash\", test = 0.3 }");
        let search = "[model.params]\ntrees = 6\nlibrary = \"lakemill\"\n
[model.search]\nmethod = \"grid\"\nfolds = 2\nmetric = \"log_loss\"
[model.search.space]\nmax_depth = { from = 2, to = 4, steps = 2 }\nmin_samples_leaf = [5, 40]\n";
        place.edit("job.toml", "[score]", &format!("{search}\n[score]"));
        place
    };
    let (_place, artifact) = the_same_everywhere(make);
    is_sound(&artifact, false);
    let tried = artifact["search"]["tried"].as_array().unwrap();
    let settings: Vec<&Value> = tried.iter().map(|own| &own["params"]).collect();
    let wanted =
        [(2, 5), (2, 40), (4, 5), (4, 40)].map(|(depth, leaf)| json!({ "max_depth": depth, "min_samples_leaf": leaf }));
    assert_eq!(settings, wanted.iter().collect::<Vec<_>>());
}

#[test]
fn time_ends_a_search_before_a_setting_and_what_was_tried_can_be_repeated() {
    let search = RANDOM.replace("settings = 5", "settings = 1000\nmax_time = \"1s\"");
    let place = boosting(&search);
    let first = train(&place, &["--threads", "2"]).expect(0).json();
    let search = &first["data"]["search"];
    let tried = search["tried"].as_array().unwrap().len();
    assert_eq!(search["settings"], 1000);
    assert!((1..1000).contains(&tried), "{tried} of 1000 in a second");
    is_sound(&artifact(&place, 1), true);
    let card = String::from_utf8(place.read("own/models/risk/versions/000001/card.md")).unwrap();
    assert!(
        card.contains(&format!("{tried} of 1000 settings")) && card.contains("`max_time` ended the search"),
        "{card}"
    );
    let again = train(&place, &["--threads", "1", "--force"]).expect(0).json();
    assert_eq!((&again["model"]["version"], &again["data"]["search"]), (&json!(1), search));
}

#[test]
fn a_setting_that_cannot_be_fitted_is_not_chosen() {
    let place = job("algorithm = \"logistic_regression\"");
    let search = "[model.search]\nmethod = \"grid\"\nfolds = 2\nmetric = \"roc_auc\"
[model.search.space]\nmax_iterations = [1, 100]\n";
    place.edit("job.toml", "[score]", &format!("{search}\n[score]"));
    train(&place, &[]).expect(0);
    let artifact = artifact(&place, 1);
    is_sound(&artifact, true);
    let tried = artifact["search"]["tried"].as_array().unwrap();
    assert!(tried[0]["failed"].as_str().unwrap().contains("converge"), "{artifact}");
    assert_eq!((&artifact["search"]["chosen"], &tried[0]["mean"]), (&json!(1), &Value::Null));
    // Where none can be fitted, the training fails and registers nothing.
    let sets = ["--set", "model.search.space.max_iterations=[1, 2]"];
    let failed = train(&place, &sets).expect(1);
    assert!(failed.stderr.contains("no setting of the search could be fitted"), "{}", failed.stderr);
    assert!(!place.path().join("own/models/risk/versions/000002/artifact.json").exists());
}

#[test]
fn what_cannot_be_searched_is_told_by_check_and_by_training() {
    let told = |search: &str| {
        let place = boosting(search);
        call(&place, &["check", "job.toml"]).expect(2).stderr
    };
    let space = |space: &str| {
        format!("[model.search]\nmethod = \"grid\"\nmetric = \"roc_auc\"\n[model.search.space]\n{space}\n")
    };
    let text = told(&space("leafs = [7]"));
    assert!(text.contains("has no parameter `leafs`") && text.contains("did you mean `leaves`?"), "{text}");
    let text = told(&space("learning_rate = { from = 0.01, to = 0.3, steps = 400000000 }"));
    assert!(text.contains("must be at most 1000"), "{text}");
    let text = told(&space("subsample = [0.5, 1.5]"));
    assert!(text.contains("space.subsample` must be at most 1") && text.contains("^^^"), "{text}");
    let place = boosting("");
    let wrong = ["early_stopping_rounds=0", "validation=0.7", "l2=-1", "subsample=0"];
    let wrong = wrong.map(|set| ["--set".to_owned(), format!("model.params.{set}")]).concat();
    let args: Vec<&str> = ["check", "job.toml"].into_iter().chain(wrong.iter().map(String::as_str)).collect();
    let text = call(&place, &args).expect(2).stderr;
    assert!(text.contains("4 mistakes") && text.contains("must be more than 0, found 0"), "{text}");
    // Values that are fine each, and not together.
    let text = told(&space("objective = [\"squared\", \"absolute\"]\nmonotone = [{}, { tx_amount = 1 }]"));
    assert!(text.contains("monotone constraints cannot be held") && text.contains("in the setting"), "{text}");

    // Two days can't be cut into halves that are two days apart.
    let place = boosting(RANDOM);
    place.edit("job.toml", "test = \"2d\"", "test = \"1d\", gap = \"3d\"");
    place.edit("job.toml", "window = \"6d\"", "window = \"3d\"");
    let failed = train(&place, &[]).expect(3);
    assert!(failed.stderr.contains("nothing to learn from before the split's gap"), "{}", failed.stderr);
    assert!(failed.stderr.contains("model.window"), "{}", failed.stderr);
}

#[test]
fn a_plan_tells_of_the_search() {
    let place = boosting(RANDOM);
    let plan = call(&place, &["plan", "job.toml", "--interval", "2018-06-11", "--output", "json"]).expect(0).json();
    assert_eq!(plan["search"], "5 settings (random) on 3 folds by average_precision", "{plan}");
    let text = call(&place, &["plan", "job.toml", "--interval", "2018-06-11"]).expect(0).stdout;
    assert!(text.contains("training tries"), "{text}");
}
