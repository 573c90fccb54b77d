//! Lookup tables: names, keys, pointers, damaged generations.

use super::place::Place;
use super::{Case, call, case};

const TABLE: &str = "home/lookup/risk";

fn lookup(name: &'static str, exit: i32, args: &[&str]) -> Case {
    case(name, exit, &[&["lookup"], args, &["--home", "home"]].concat())
}

fn get(name: &'static str, exit: i32) -> Case {
    lookup(name, exit, &["get", "risk", "1"])
}

fn data() -> String {
    format!("{TABLE}/v=000001/data.mdb")
}

pub fn cases() -> Vec<Case> {
    vec![
        lookup("lookup_unknown_table", 2, &["get", "rsik", "1"]),
        lookup("lookup_table_far_from_all", 2, &["stats", "weather"]),
        lookup("lookup_table_is_a_path", 2, &["get", "../../elsewhere", "1"]),
        lookup("lookup_unknown_key", 1, &["get", "risk", "999999"]),
        lookup("lookup_key_with_control_characters", 1, &["get", "risk", "1\n\u{1b}[31m2"]),
        lookup("lookup_unknown_negative_key", 1, &["get", "risk", "-1"]),
        case("lookup_home_is_mistyped", 2, &["lookup", "get", "risk", "1", "--home", "hoem"]),
        case("lookup_home_is_not_given", 2, &["lookup", "get", "risk", "1"]),
        get("lookup_current_points_nowhere", 9).change(|place| place.write(&format!("{TABLE}/CURRENT"), "v=000009\n")),
        get("lookup_current_is_garbage", 9).change(|place| place.write(&format!("{TABLE}/CURRENT"), "hello\n")),
        get("lookup_data_cut_off", 9).change(|place| place.halve(&data())),
        get("lookup_data_missing", 9).change(|place| place.remove(&data())),
        get("lookup_metadata_damaged", 9)
            .change(|place| place.write(&format!("{TABLE}/v=000001/generation.json"), "{}")),
        lookup("lookup_data_zeroed", 9, &["verify", "risk"]).change(|place| {
            let zeros = vec![0; place.read(&data()).len()];
            place.write(&data(), zeros);
        }),
        lookup("lookup_value_altered", 9, &["verify", "risk"]).change(|place| {
            let mut bytes = place.read(&data());
            let value = bytes.windows(7).position(|found| found == b"\"score\"").unwrap();
            bytes[value + 9] ^= 1;
            place.write(&data(), bytes);
        }),
    ]
}

#[test]
fn a_damaged_generation_is_mended_by_scoring_again() {
    let damages: [fn(&Place); 3] = [
        |place| place.write(&format!("{TABLE}/CURRENT"), "v=000009\n"),
        |place| place.halve(&data()),
        |place| place.remove(&data()),
    ];
    for damage in damages {
        let place = Place::new();
        // The copy lies elsewhere than the template, so its interval is scored once by itself.
        call(&place, &["score", "job.toml", "--interval", "2018-06-10"]).expect(0);
        let whole = call(&place, &["lookup", "dump", "risk", "--home", "home"]).expect(0).stdout;
        damage(&place);
        call(&place, &["score", "job.toml", "--interval", "2018-06-10"]).expect(0);
        call(&place, &["lookup", "verify", "risk", "--home", "home"]).expect(0);
        assert_eq!(call(&place, &["lookup", "dump", "risk", "--home", "home"]).expect(0).stdout, whole);
    }
}
