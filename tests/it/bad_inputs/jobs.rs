//! Job files and what the command line changes in them.

use super::{Case, case, score};

fn check(name: &'static str) -> Case {
    case(name, 2, &["check", "job.toml"])
}

pub fn cases() -> Vec<Case> {
    vec![
        case("job_missing", 2, &["check", "nowhere.toml"]),
        case("job_mistyped", 2, &["check", "jub.toml"]),
        case("job_in_another_folder", 2, &["score", "jobs/job.toml", "--interval", "2018-06-11"]),
        check("job_empty").change(|place| place.write("job.toml", "")),
        check("job_is_json").change(|place| place.write("job.toml", "{\"version\": 1}\n")),
        check("job_section_twice").job("[score]", "[model]\nseed = 8\n\n[score]"),
        check("job_set_to_nothing").set("model.seed="),
        check("job_gate_asks_for_nothing").set("gate.roc_auc={}"),
        check("job_lookup_of_no_column").set("lookup.key=nope"),
        check("job_passthrough_of_a_result").set("score.passthrough=[\"score\", \"customer_id\"]"),
        check("job_output_where_models_are").set("score.output=models/x"),
        check("job_version_and_instant")
            .set("tables.transactions.version=1")
            .set("tables.transactions.as_of=2018-06-01"),
        check("job_variable_of_lakemills_own").set("vars.interval_start=1"),
        check("job_window_backwards").set("model.window=-7d"),
        case("job_is_a_folder", 2, &["check", "lake"]),
        check("job_is_not_utf8").change(|place| place.write("job.toml", b"name = \"\xff\xfe\"\n")),
        check("job_syntax").job("seed = 7", "seed = "),
        check("job_unknown_key").job("passthrough = [\"customer_id\"]", "passthru = [\"customer_id\"]"),
        check("job_wrong_type").job("seed = 7", "seed = \"seven\""),
        check("job_environment_unset").job("\"home\"", "\"${NO_SUCH_VARIABLE}\""),
        check("job_secret_in_a_url").job("store = \"file\"", "store = \"redis://u:hunter2@cache:6379/0\""),
        check("job_secret_in_a_table").job("lake/transactions", "s3://AKIA123:hunter2@bucket/transactions"),
        check("job_many_mistakes_at_once").change(|place| place.write("job.toml", "version = 2\nname = \"a/b\"\n")),
        check("job_set_unknown_key").set("model.sed=8"),
        check("job_set_without_a_value").set("model.seed"),
        check("job_unknown_algorithm").set("model.algorithm=logistic_regresion"),
        check("job_algorithm_for_another_task").set("model.algorithm=linear_regression"),
        check("job_unknown_hyperparameter").set("model.algorithm=random_forest").set("model.params.tree=5"),
        check("job_hyperparameter_out_of_range").set("model.algorithm=random_forest").set("model.params.trees=0"),
        check("job_class_weight_of_a_regression")
            .set("model.task=regression")
            .set("model.algorithm=elastic_net")
            .set("model.class_weight=balanced"),
        check("job_unknown_metric_in_the_gate").set("gate.roc_acu={ threshold = 0.8 }"),
        score("job_mistakes_stop_a_run_too", 2).job("seed = 7", "sed = 7"),
        score("job_sql_missing", 2).set("features.sql=no.sql"),
        score("job_output_outside_the_home", 2).set("score.output=../predictions"),
    ]
}
