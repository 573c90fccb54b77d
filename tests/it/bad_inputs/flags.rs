//! Intervals, global flags, commands, homes.

use super::{Case, DAY, case, score};

fn interval(name: &'static str, interval: &str) -> Case {
    case(name, 2, &["score", "job.toml", "--interval", interval])
}

fn list(name: &'static str, flags: &[&str]) -> Case {
    case(name, 2, &[&["models", "list", "--home", "home"], flags].concat())
}

pub fn cases() -> Vec<Case> {
    vec![
        interval("interval_empty", ""),
        interval("interval_none", "None"),
        interval("interval_backwards", "2018-06-12/2018-06-11"),
        interval("interval_without_length", "2018-06-11/2018-06-11"),
        interval("interval_in_the_future", "2999-01-01"),
        interval("interval_garbage", "yesterday"),
        interval("interval_no_such_day", "2018-02-30"),
        interval("interval_without_an_end", "2018-06-11/"),
        case("interval_missing", 2, &["score", "job.toml"]),
        case("interval_missing_where_a_plan_is_asked_for", 2, &["plan", "job.toml"]),
        list("flag_no_threads", &["--threads", "0"]),
        list("flag_too_many_threads", &["--threads", "99999999"]),
        list("flag_too_little_memory", &["--memory", "1KiB"]),
        list("flag_memory_is_no_size", &["--memory", "lots"]),
        list("flag_log_is_no_filter", &["--log", "!!=x="]),
        list("flag_unknown_output", &["--output", "xml"]),
        case("flag_unknown_command", 2, &["trian", "job.toml"]),
        case("flag_demo_without_rows", 2, &["demo", "--rows", "0", "--dir", "made"]),
        case("flag_demo_with_too_many_rows", 2, &["demo", "--rows", "99999999999999", "--dir", "made"]),
        case("flag_receipt_in_no_folder", 2, &["score", "job.toml", "--interval", DAY, "--receipt", "no/receipt.json"]),
        case("flag_demo_too_small_to_train_on", 2, &["demo", "--rows", "2000", "--dir", "made"]),
        case("flag_interval_without_its_name", 2, &["score", "job.toml", DAY]),
        interval("interval_of_a_template", "{{ ds }}"),
        interval("interval_as_a_duration", "2018-06-11/P1D"),
        interval("interval_of_three", "2018-06-11/2018-06-12/2018-06-13"),
        case("flag_receipt_is_a_folder", 2, &["score", "job.toml", "--interval", DAY, "--receipt", "home"]),
        score("home_is_a_file", 2).set("home=risk.sql"),
        case("home_is_a_file_to_train_into", 1, &["train", "job.toml", "--interval", DAY, "--set", "home=risk.sql"]),
        case("run_by_too_short_an_id", 2, &["runs", "show", "", "--home", "home"]),
        case("run_unknown", 2, &["runs", "show", "abc", "--home", "home"]),
        case("run_of_unknown_job", 2, &["runs", "list", "rsik", "--home", "home"]),
    ]
}
