//! Tables that are not there, not what the job says, or damaged.

use super::place::Place;
use super::{Case, DAY, case, score};

const LOG: &str = "lake/transactions/_delta_log";

fn last_commit(place: &Place, content: &[u8]) {
    place.write(&format!("{LOG}/{:020}.json", 11), content);
}

fn data_file(place: &Place) -> String {
    place.one(&format!("lake/transactions/tx_date={DAY}"), "part-", ".parquet")
}

/// A folder or file `t` as a table of its own.
fn plain(name: &'static str, exit: i32, file: &'static str, content: &'static str) -> Case {
    case(name, exit, &["query", "SELECT * FROM t", "--table", &format!("t={file}")])
        .change(move |place| place.write(file, content))
}

pub fn cases() -> Vec<Case> {
    vec![
        score("table_missing", 2).set("tables.transactions.path=lake/nowhere"),
        score("table_is_an_empty_folder", 2)
            .set("tables.transactions.path=void")
            .change(|place| std::fs::create_dir(place.path().join("void")).unwrap()),
        score("table_of_no_format", 2)
            .set("tables.transactions.path=notes")
            .change(|place| place.write("notes/readme.txt", "hello")),
        score("table_unknown_version", 2).set("tables.transactions.version=999"),
        score("table_before_its_first_commit", 2).set("tables.transactions.as_of=\"2001-01-01T00:00:00Z\""),
        score("table_delta_said_to_be_parquet", 2).set("tables.transactions.format=parquet"),
        score("table_csv_said_to_be_delta", 2)
            .set("tables.transactions.format=delta")
            .set("tables.transactions.path=plain")
            .change(|place| place.write("plain/a.csv", "transaction_id,tx_datetime\n1,2018-06-11\n")),
        score("table_commit_cut_off", 1).change(|place| last_commit(place, b"{\"add\":{\"path\":\n")),
        score("table_last_commit_empty", 1).change(|place| last_commit(place, b"")),
        score("table_commit_in_the_middle_empty", 1).change(|place| place.write(&format!("{LOG}/{:020}.json", 6), "")),
        score("table_commit_is_no_text", 1).change(|place| last_commit(place, b"\xff\x00\x01")),
        score("table_commit_missing", 1).change(|place| place.remove(&format!("{LOG}/{:020}.json", 6))),
        score("table_file_missing", 1).change(|place| place.remove(&data_file(place))),
        score("table_file_cut_off", 1).change(|place| place.halve(&data_file(place))),
        score("table_file_empty", 1).change(|place| place.write(&data_file(place), "")),
        score("table_file_overwritten", 1).change(|place| {
            let file = data_file(place);
            let mut bytes = place.read(&file);
            bytes[100..2000].fill(0);
            place.write(&file, bytes);
        }),
        plain("table_csv_ragged", 3, "t.csv", "a,b\n1,2\n3\n"),
        plain("table_csv_column_twice", 2, "t.csv", "a,b,a\n1,2,3\n"),
        plain("table_json_cut_off", 3, "t.jsonl", "{\"a\":1}\n{\"a\":\n"),
    ]
}
