//! The readers under `clients/`, in their own languages, beside the store that publishes.

mod place;
mod reader;
mod secured;
mod vectors;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray};
use lakemill::lookup::Mode;
use place::{Kind, Place};
use reader::{Language, Reader};
use secured::{reads_from_nobody_whom_it_should_not_trust, reads_over_tls_as_a_user_of_few_rights};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true))).unwrap()
}

/// Rows with these keys, and all with the same value.
fn rows(keys: &[String], value: i64) -> RecordBatch {
    let values = Int64Array::from(vec![value; keys.len()]);
    batch(&[("key", Arc::new(StringArray::from(keys.to_vec()))), ("value", Arc::new(values))])
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("customer {index}")).collect()
}

fn text(key: &str) -> Value {
    json!([{ "string": key }])
}

fn texts<'a>(keys: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
    keys.into_iter().map(|key| text(key)).collect()
}

/// What a reader says no with.
fn refusal(answer: &Value) -> &str {
    answer["error"].as_str().unwrap_or_else(|| panic!("not refused: {answer}"))
}

/// Runs a test in a language with each store that can be had; the reader is a new process for each.
fn with_each(language: Language, kinds: &[Kind], test: impl Fn(&mut Reader, &Place)) {
    for &kind in kinds {
        let (Some(place), Some(mut reader)) = (Place::new(kind), Reader::start(language)) else { continue };
        test(&mut reader, &place);
    }
}

/// Keys and values of every shape: short ones, those at the limits, text of all planes, values that take pages of
/// their own.
fn shapes(count: usize) -> RecordBatch {
    let mut keys = numbered(count);
    keys.extend(
        ["a", "é\"\n\t\\", "a|b", "a\\|b", "😀", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}", " "].map(String::from),
    );
    keys.extend([1, 255, 256, 510, 511].map(|length| "k".repeat(length)));
    keys.extend(["0", "00", "-1", "1e3", "null", "true"].map(String::from));
    let note = |index: usize| match index % 1000 {
        0 => Some("long ".repeat(200 + index)),
        1 => None,
        length => Some("é".repeat(length % 40)),
    };
    let notes = StringArray::from_iter((0..keys.len()).map(note));
    let scores = Int64Array::from_iter_values((0..keys.len()).map(|index| i64::MAX - index as i64));
    batch(&[("key", Arc::new(StringArray::from(keys))), ("note", Arc::new(notes)), ("score", Arc::new(scores))])
}

/// Compares all that is published with what the reader finds.
fn compare_all(reader: &mut Reader, place: &Place) {
    for part in place.pairs().chunks(5000) {
        let found = reader.get(texts(part.iter().map(|(key, _)| key)));
        let wanted: Vec<Option<String>> = part.iter().map(|(_, value)| Some(value.clone())).collect();
        assert!(found == wanted, "{place:?}: other values are read than were published");
    }
}

fn reads_every_key_as_the_store_does(language: Language) {
    with_each(language, Kind::ALL, |reader, place| {
        place.publish(&shapes(20_000), 1, 3);
        let pairs = place.pairs();
        reader.open(place, 0);
        compare_all(reader, place);
        // What lies between, before and after all keys, what is longer than any, and no text at all.
        let absent = ["", "!", "customer", "customer 20000", "customer 1\0", "zzz", &"k".repeat(512), "😀😀"];
        let found = reader.get(absent.map(text).to_vec());
        assert_eq!(found, vec![None; absent.len()], "{language:?} {place:?}");
        assert_eq!(reader.get(Vec::new()), Vec::<Option<String>>::new());

        let told = reader.metadata();
        let metadata = place.metadata();
        assert_eq!(told["generation"], 1);
        assert_eq!(told["keys"], pairs.len());
        assert_eq!(told["interval"], metadata["interval"]);
        assert_eq!(told["model_version"], metadata["model_version"]);
        assert_eq!(told["columns"], json!(["key", "note", "score"]));
        assert_eq!(told["interval_end"], 1_529_539_200_000_i64);
        let instant = |name: &str| chrono::DateTime::parse_from_rfc3339(metadata[name].as_str().unwrap()).unwrap();
        assert_eq!(told["published_at"], instant("published_at").timestamp_millis());
        let age = chrono::Utc::now().signed_duration_since(instant("interval_end")).num_milliseconds();
        let apart = age - told["age"].as_i64().unwrap();
        assert!((0..60_000).contains(&apart), "{language:?} says {told}, {apart} ms apart");
    });
}

fn reads_generations_that_were_made_from_others(language: Language) {
    with_each(language, Kind::ALL, |reader, place| {
        let shapes = shapes(6000);
        place.publish(&shapes, 1, 3);
        reader.open(place, 0);
        // Files that were edited: pages split, were freed and used again, values grew and shrank.
        let some = |from: usize, length: usize| {
            let keys = StringArray::from_iter_values((0..1500).map(|index| format!("customer {}", from + 7 * index)));
            let notes = StringArray::from_iter_values((0..1500).map(|index| "n".repeat(index % length)));
            let scores = Int64Array::from_iter_values((0..1500).map(|index| index + length as i64));
            batch(&[("key", Arc::new(keys)), ("note", Arc::new(notes)), ("score", Arc::new(scores))])
        };
        for rows in [some(1, 90), some(4000, 3000), some(3, 10)] {
            place.publish_as(Mode::Merge, &rows, 1, 3);
            compare_all(reader, place);
        }
        place.publish_as(Mode::Changed, &shapes.slice(1500, 4000), 1, 3);
        compare_all(reader, place);
        let gone = ["customer 0", "customer 1499", "customer 5500", "customer 14493"];
        assert_eq!(reader.get(gone.map(text).to_vec()), vec![None; gone.len()], "{language:?} {place:?}");
        assert_eq!(reader.metadata()["generation"], 5);
    });
}

fn encodes_keys_of_several_columns(language: Language) {
    let regions = ["a|b", "a", "", "\\", "\\|", "é"];
    let numbers = [1, -7, i64::MAX, 0, 4, 5];
    let flags = [true, false, true, false, true, false];
    let days = [17_702, 0, -719_528, 1, 2, 3];
    let rows = batch(&[
        ("region", Arc::new(StringArray::from(regions.to_vec()))),
        ("number", Arc::new(Int64Array::from(numbers.to_vec()))),
        ("flag", Arc::new(BooleanArray::from(flags.to_vec()))),
        ("day", Arc::new(Date32Array::from(days.to_vec()))),
        ("value", Arc::new(Int64Array::from_iter_values(0..6))),
    ]);
    let written = ["2018-06-20", "1970-01-01", "0000-01-01", "1970-01-02", "1970-01-03", "1970-01-04"];
    with_each(language, Kind::ALL, |reader, place| {
        place.publish(&rows, 4, 3);
        reader.open(place, 0);
        for index in 0..regions.len() {
            // Python's dates begin with the year 1: as text it is the same key.
            let day = if written[index] < "0001" { "string" } else { "date" };
            let key = json!([
                { "string": regions[index] }, { "int": numbers[index].to_string() }, { "bool": flags[index] },
                { day: written[index] },
            ]);
            assert_eq!(reader.get(vec![key]), [Some(format!("{{\"value\":{index}}}"))], "{language:?} {index}");
        }
        let shorter = json!({ "do": "get", "keys": [text("a")] });
        let wanted = if language == Language::Java { "IllegalArgumentException" } else { "TypeError" };
        assert_eq!(refusal(&reader.ask(&shorter)), wanted);
    });
}

fn answers_from_one_generation_while_they_flip(language: Language) {
    const FLIPS: i64 = 25;
    const MOST: i64 = 5000;
    with_each(language, Kind::ALL, |reader, place| {
        let keys = numbered(300);
        let asked = texts(&keys);
        place.publish(&rows(&keys, 0), 1, 1);
        reader.open(place, 0);
        let (published, seen) = (AtomicI64::new(0), AtomicI64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Only the current generation is kept: what a reader has open is removed under it at every flip. A
                // reader that is slow to start gets more of them.
                let enough = |value: i64| value > FLIPS && seen.load(Ordering::SeqCst) >= 2 || value > MOST;
                let last = (1..).take_while(|value| !enough(*value)).inspect(|value| {
                    place.publish(&rows(&keys, *value), 1, 1);
                });
                published.store(last.last().unwrap(), Ordering::SeqCst);
            });
            let (mut last, mut end) = (0, 0);
            while end == 0 {
                // What is read after the last flip has to be what it published.
                end = published.load(Ordering::SeqCst);
                let found = reader.get(asked.clone());
                let first = found[0].clone().expect("a key that is in every generation was not found");
                assert!(found.iter().all(|value| *value == Some(first.clone())), "{language:?}: a mixture");
                let value = serde_json::from_str::<Value>(&first).unwrap()["value"].as_i64().unwrap();
                assert!(value >= last, "{language:?}: {value} after {last}");
                seen.fetch_add(i64::from(value > last), Ordering::SeqCst);
                last = value;
            }
            assert_eq!(last, end, "{language:?}");
            assert!(seen.load(Ordering::SeqCst) >= 2, "{language:?}: nothing flipped while it was read");
        });
    });
}

fn looks_at_the_pointer_when_it_is_due(language: Language) {
    let keys = numbered(10);
    let value = |value: i64| vec![Some(format!("{{\"value\":{value}}}"))];
    with_each(language, Kind::ALL, |reader, place| {
        place.publish(&rows(&keys, 1), 1, 3);
        reader.open(place, 3_600_000);
        place.publish(&rows(&keys, 2), 1, 3);
        assert_eq!(reader.get(texts(&keys[..1])), value(1), "{language:?} looked too early");
        reader.close();
        reader.open(place, 0);
        assert_eq!(reader.get(texts(&keys[..1])), value(2), "{language:?}");
        place.roll_back();
        assert_eq!(reader.get(texts(&keys[..1])), value(1), "{language:?} does not follow a rollback");
        assert_eq!(reader.metadata()["generation"], 1);
    });
}

fn moves_on_when_a_generation_has_gone(language: Language) {
    let keys = numbered(10);
    with_each(language, Kind::SERVER, |reader, place| {
        place.publish(&rows(&keys, 1), 1, 3);
        reader.open(place, 3_600_000);
        place.publish(&rows(&keys, 2), 1, 3);
        place.remove(1);
        // It believes in the generation that it has, and finds nothing there.
        let found = reader.get(texts(&keys));
        assert_eq!(found, vec![Some(r#"{"value":2}"#.to_owned()); keys.len()], "{language:?} {place:?}");
    });
}

fn tells_what_cannot_be_read(language: Language) {
    with_each(language, Kind::ALL, |reader, place| {
        assert_eq!(refusal(&reader.try_open(place, 0)), "NotPublished", "{language:?} {place:?}");
        place.publish(&rows(&numbered(100), 1), 1, 3);
        reader.open(place, 0);
        assert_eq!(reader.get(vec![text("no such key")]), [None]);

        place.edit_metadata(|metadata| metadata["format"] = json!(3));
        let answer = reader.try_open(place, 0);
        assert_eq!(refusal(&answer), "UnknownFormat", "{language:?} {place:?}");
        let message = "the generation has format 3, this reader reads 2";
        assert!(answer["message"].as_str().unwrap().contains(message), "{answer}");

        place.edit_metadata(|metadata| metadata["generation"] = json!(7));
        assert_eq!(refusal(&reader.try_open(place, 0)), "Damaged", "{language:?} {place:?}");
        place.edit_metadata(|metadata| metadata["published_at"] = json!("soon"));
        assert_eq!(refusal(&reader.try_open(place, 0)), "Damaged", "{language:?} {place:?}");
        place.edit_metadata(|metadata| *metadata = json!("nonsense"));
        assert_eq!(refusal(&reader.try_open(place, 0)), "Damaged", "{language:?} {place:?}");

        place.edit_metadata(|metadata| {
            metadata["ttl_secs"] = json!(60);
            metadata["published_at"] = json!("2018-06-21T00:00:00Z");
        });
        reader.open(place, 0);
        let get = json!({ "do": "get", "keys": [text("customer 1")] });
        assert_eq!(refusal(&reader.ask(&get)), "Expired", "{language:?} {place:?}");
    });
}

fn tells_what_has_expired(language: Language) {
    for &kind in Kind::ALL {
        let (Some(place), Some(mut reader)) = (Place::new(kind), Reader::start(language)) else { continue };
        let place = place.good_for(2);
        place.publish(&rows(&numbered(100), 1), 1, 3);
        std::thread::sleep(Duration::from_millis(2500));
        // A server has removed the values by now, and what is left says why.
        reader.open(&place, 0);
        for key in ["customer 1", "no such key"] {
            let get = json!({ "do": "get", "keys": [text(key)] });
            assert_eq!(refusal(&reader.ask(&get)), "Expired", "{language:?} {place:?} {key}");
        }

        place.publish(&rows(&numbered(100), 2), 1, 3);
        place.edit_metadata(|metadata| {
            metadata["ttl_secs"] = json!(60);
            let ends = chrono::Utc::now() + Duration::from_secs(4);
            metadata["published_at"] = json!((ends - Duration::from_secs(60)).to_rfc3339());
        });
        reader.open(&place, 0);
        let answer = reader.ask(&json!({ "do": "get", "keys": [text("no such key")] }));
        if kind == Kind::File {
            // Unless this machine was so slow that it has expired.
            assert!(answer["values"] == json!([null]) || refusal(&answer) == "Expired", "{language:?}: {answer}");
        } else {
            assert_eq!(refusal(&answer), "Expired", "{language:?} {place:?} believes its own clock");
        }
    }
}

fn tells_what_is_damaged(language: Language) {
    with_each(language, &[Kind::File], |reader, place| {
        place.publish(&rows(&numbered(5000), 1), 1, 3);
        let (data, pointer) = (place.folder().join("v=000001/data.mdb"), place.folder().join("CURRENT"));
        let whole = fs::read(&data).unwrap();
        fs::write(&data, &whole[..whole.len() - 4096]).unwrap();
        assert_eq!(refusal(&reader.try_open(place, 0)), "Damaged", "{language:?} cut off");
        fs::write(&data, vec![7; whole.len()]).unwrap();
        assert_eq!(refusal(&reader.try_open(place, 0)), "Damaged", "{language:?} overwritten");
        fs::write(&data, &whole).unwrap();
        reader.open(place, 0);
        fs::write(&pointer, "v=000002\n").unwrap();
        assert_eq!(refusal(&reader.try_open(place, 0)), "Damaged", "{language:?} names no generation");
        fs::write(&pointer, "whatever\n").unwrap();
        assert_eq!(refusal(&reader.try_open(place, 0)), "Damaged", "{language:?} is no pointer");
        fs::write(&pointer, "v=000001\n").unwrap();
        reader.open(place, 0);
        assert_eq!(reader.get(vec![text("customer 1")]), [Some(r#"{"value":1}"#.to_owned())]);
        let mut names: Vec<_> = fs::read_dir(place.folder().join("v=000001")).unwrap().flatten().collect();
        names.sort_by_key(fs::DirEntry::file_name);
        let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
        assert_eq!(names, ["data.mdb", "generation.json"], "{language:?} has written beside the data");
    });
}

fn agrees_with_the_test_vectors(language: Language) {
    let Some(mut tests) = reader::unit_tests(language) else { return };
    let output = tests.output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{language:?}: {said}");
}

macro_rules! in_every_language {
    ($($test:ident,)*) => {
        in_every_language!(python: Python, $($test,)*);
        in_every_language!(node: Node, $($test,)*);
        in_every_language!(java: Java, $($test,)*);
    };
    ($module:ident: $language:ident, $($test:ident,)*) => {
        mod $module {
            $(#[test]
            fn $test() {
                super::$test(super::Language::$language);
            })*
        }
    };
}

in_every_language! {
    agrees_with_the_test_vectors,
    reads_every_key_as_the_store_does,
    reads_generations_that_were_made_from_others,
    encodes_keys_of_several_columns,
    answers_from_one_generation_while_they_flip,
    looks_at_the_pointer_when_it_is_due,
    moves_on_when_a_generation_has_gone,
    tells_what_cannot_be_read,
    tells_what_has_expired,
    tells_what_is_damaged,
    reads_over_tls_as_a_user_of_few_rights,
    reads_from_nobody_whom_it_should_not_trust,
}

/// Reads all keys, and one that is not there.
fn read_from_cluster(reader: &mut Reader, keys: &[String], when: &str) {
    let found = reader.get(texts(keys.iter().chain([&"absent".to_owned()])));
    assert!(found[..keys.len()].iter().all(|value| value.as_deref() == Some(r#"{"value":1}"#)), "{when}");
    assert_eq!(found[keys.len()], None, "{when}");
}

#[test]
fn a_cluster_is_read_while_its_keys_move() {
    let Some(nodes) = crate::redis::server::cluster() else { return };
    let keys = numbered(2000);
    for kind in Kind::SERVER {
        let place = Place::on(*kind, nodes[0].url());
        place.publish(&rows(&keys, 1), 1, 1);
        let mut readers = Vec::new();
        for language in Language::ALL {
            let Some(mut reader) = Reader::start(language) else { continue };
            let opened = reader.try_open_in_cluster(&place);
            assert!(opened["error"].is_null(), "{language:?} {opened}");
            read_from_cluster(&mut reader, &keys, &format!("{language:?} {place:?}"));
            readers.push((language, reader));
        }
        // The slot of one part of the values goes from its node to another.
        let is_value = |key: &String| match kind {
            Kind::Strings => key.ends_with(":1:customer 7"),
            _ => key.starts_with(&format!("{}:{{", place.prefix())) && key.ends_with("}:1"),
        };
        let (from, moved) =
            nodes.iter().find_map(|node| Some((node, node.keys().into_iter().find(is_value)?))).unwrap();
        let to = nodes.iter().find(|node| node.port != from.port).unwrap();
        let slot = from.cli(&["CLUSTER", "KEYSLOT", &moved]);
        let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
        assert_eq!(to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
        assert_eq!(from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
        for key in from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).lines() {
            assert_eq!(from.cli(&["MIGRATE", "127.0.0.1", &to.port.to_string(), key, "0", "10000"]), "OK", "{key}");
        }
        for (language, reader) in &mut readers {
            read_from_cluster(reader, &keys, &format!("{language:?} {place:?} while a slot moves"));
        }
        for node in [to, from].into_iter().chain(&nodes) {
            assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]), "OK");
        }
        for (language, reader) in &mut readers {
            read_from_cluster(reader, &keys, &format!("{language:?} {place:?} after a slot has moved"));
        }
    }
}

#[test]
fn a_server_that_is_gone_is_an_error_and_no_missing_key() {
    for language in Language::ALL {
        let Some(mut reader) = Reader::start(language) else { continue };
        // A port that nobody listens on any more.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let location = format!("redis://reader:hunter2@127.0.0.1:{port}");
        let open = json!({ "do": "open", "location": location, "table": "t", "prefix": "p", "check_millis": 0 });
        let answer = reader.ask(&open);
        assert_ne!(refusal(&answer), "NotPublished", "{language:?}");
        assert!(!answer.to_string().contains("hunter2"), "{language:?} shows the password: {answer}");
    }
}

#[test]
fn a_server_that_hangs_is_an_error_in_time_and_read_again_when_it_goes_on() {
    let Some(server) = crate::redis::server::Server::start(&[]) else { return };
    let place = Place::on(Kind::Buckets, server.url());
    place.publish(&rows(&numbered(10), 1), 1, 3);
    // Node's package waits for as long as there is a connection.
    for (language, option) in [(Language::Python, "?socket_timeout=1"), (Language::Java, "")] {
        let Some(mut reader) = Reader::start(language) else { continue };
        let location = format!("{}{option}", server.url());
        let opened = reader.try_open_as(&place, json!({ "location": location, "check_millis": 0 }));
        assert!(opened["error"].is_null(), "{language:?}: {opened}");
        server.signal("-STOP");
        let began = Instant::now();
        let get = json!({ "do": "get", "keys": [text("customer 1")] });
        assert_ne!(refusal(&reader.ask(&get)), "NotPublished", "{language:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{language:?}: {:?}", began.elapsed());
        server.signal("-CONT");
        assert_eq!(reader.get(vec![text("customer 1")]), [Some(r#"{"value":1}"#.to_owned())], "{language:?}");
    }
}
