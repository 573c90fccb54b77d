//! `clients/vectors.json`: what the encoders give, for whoever writes a reader in another language.

use super::batch;
use super::place::{Kind, Place};
use crate::command::root;
use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, NullArray,
    RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use lakemill::lookup::{Checksum, Column, FORMAT, GenerationMetadata, KeyColumns, partition_of};
use lakemill::serve::settings::TableSettings;
use redis::Commands;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

/// The table that all vectors of values are from.
fn values() -> RecordBatch {
    let micros = TimestampMicrosecondArray::from(vec![Some(1_529_474_400_000_000), Some(1_529_474_400_000_001), None]);
    let nulls = |first: &str| StringArray::from(vec![Some(first), Some(""), None]);
    let columns: [(&str, ArrayRef); 13] = [
        ("key", Arc::new(StringArray::from(vec!["1", "2", "3"]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("int", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(0), None]))),
        ("uint", Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(9_007_199_254_740_991), None]))),
        ("float", Arc::new(Float32Array::from(vec![Some(0.1), Some(-0.0), None]))),
        ("double", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), Some(1e300), None]))),
        ("decimal", Arc::new(decimals(vec![Some(1250), Some(-5), None], 9, 2))),
        ("long", Arc::new(decimals(vec![Some(12_345_678_901_234_567_890_123), Some(1), None], 38, 5))),
        ("whole", Arc::new(decimals(vec![Some(12_345_678_901_234_567_890), Some(7), None], 20, 0))),
        ("say \"hi\"", Arc::new(nulls("tab\tquote\" \u{1}\u{7f}é😀 {\"score\":1.5}, null"))),
        ("date", Arc::new(Date32Array::from(vec![Some(17_702), Some(0), None]))),
        ("at", Arc::new(micros.with_timezone("Europe/Berlin"))),
        ("nothing", Arc::new(NullArray::new(3))),
    ];
    batch(&columns)
}

fn decimals(values: Vec<Option<i128>>, precision: u8, scale: i8) -> Decimal128Array {
    Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()
}

/// The kind of a member of a value, and its text: what a reader has to make of it.
fn typed(array: &ArrayRef, row: usize) -> Value {
    use arrow::datatypes::DataType;
    if array.data_type() == &DataType::Null || array.is_null(row) {
        return json!({ "null": null });
    }
    let shown = arrow::util::display::array_value_to_string(array, row).unwrap();
    match array.data_type() {
        DataType::Boolean => json!({ "bool": shown == "true" }),
        DataType::Int64 | DataType::UInt64 => json!({ "int": shown }),
        DataType::Float32 | DataType::Float64 => json!({ "float": shown }),
        DataType::Decimal128(_, _) => json!({ "decimal": shown }),
        DataType::Timestamp(_, _) => {
            let micros = array.as_any().downcast_ref::<TimestampMicrosecondArray>().unwrap().value(row);
            let form =
                if micros % 1_000_000 == 0 { chrono::SecondsFormat::Secs } else { chrono::SecondsFormat::Micros };
            json!({ "text": chrono::DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339_opts(form, true) })
        }
        _ => json!({ "text": shown }),
    }
}

fn value_vectors() -> Vec<Value> {
    let place = Place::new(Kind::File).unwrap();
    let rows = values();
    place.publish(&rows, 1, 1);
    let columns = place.metadata()["values"].clone();
    let vector = |(row, (_, value)): (usize, (String, String))| {
        let schema = rows.schema();
        let members = schema.fields().iter().zip(rows.columns()).skip(1);
        let members: Vec<Value> = members.map(|(field, array)| json!([field.name(), typed(array, row)])).collect();
        json!({ "columns": columns, "value": value, "members": members })
    };
    place.pairs().into_iter().enumerate().map(vector).collect()
}

/// Keys of one column and of several, by their typed parts.
fn key_vectors() -> Vec<Value> {
    let strings = ["a", "é\"\n", "a|b", "a\\b", "\\|", "|", "|a", " ", "😀", "Ω\u{301}", "007", "true", "a\0b"];
    let ints = ["0", "-7", "4711", "9007199254740993", "-9223372036854775808", "9223372036854775807"];
    let parts = strings.map(|value| json!({ "string": value })).into_iter();
    let parts = parts.chain(ints.map(|value| json!({ "int": value })));
    let parts = parts.chain([true, false].map(|value| json!({ "bool": value })));
    let parts: Vec<Value> = parts.chain(["2018-06-20", "9999-12-31"].map(|value| json!({ "date": value }))).collect();
    let single = parts.iter().map(|part| vec![part.clone()]);
    let pairs = parts.windows(2).map(<[Value]>::to_vec);
    let more = [
        vec![json!({ "string": "" }), json!({ "int": "1" })],
        vec![json!({ "string": "" }), json!({ "string": "" })],
        vec![json!({ "string": "a" }), json!({ "string": "b|c" })],
        vec![json!({ "string": "a|b" }), json!({ "string": "c" })],
        vec![json!({ "string": "a\\" }), json!({ "string": "b" }), json!({ "string": "c" })],
        vec![
            json!({ "string": "x" }),
            json!({ "int": "-1" }),
            json!({ "bool": true }),
            json!({ "date": "2018-06-20" }),
        ],
    ];
    single.chain(pairs).chain(more).map(|parts| json!({ "parts": parts, "key": encoded(&parts) })).collect()
}

/// The key that the encoder makes of these parts.
fn encoded(parts: &[Value]) -> String {
    let array = |part: &Value| -> ArrayRef {
        let (kind, value) = part.as_object().unwrap().iter().next().unwrap();
        let digits = value.as_str().unwrap_or_default();
        let days = || digits.parse::<chrono::NaiveDate>().unwrap().to_epoch_days();
        match kind.as_str() {
            "int" => Arc::new(Int64Array::from(vec![digits.parse::<i64>().unwrap()])),
            "bool" => Arc::new(BooleanArray::from(vec![value.as_bool().unwrap()])),
            "date" => Arc::new(Date32Array::from(vec![days()])),
            _ => Arc::new(StringArray::from(vec![digits])),
        }
    };
    let names: Vec<String> = (0..parts.len()).map(|index| format!("column {index}")).collect();
    let columns: Vec<(&str, ArrayRef)> = names.iter().map(String::as_str).zip(parts.iter().map(array)).collect();
    let keys = KeyColumns::new(&names, 511).encode(&batch(&columns)).unwrap();
    String::from_utf8(keys.value(0).to_vec()).unwrap()
}

fn partition_vectors(keys: &[Value]) -> Vec<Value> {
    let of = |key: &str, partitions: u32| json!({ "key": key, "partitions": partitions, "partition": partition_of(key.as_bytes(), partitions) });
    let some = keys.iter().step_by(3).map(|vector| vector["key"].as_str().unwrap());
    some.flat_map(|key| [1, 64, 156_250].map(|partitions| of(key, partitions))).collect()
}

/// The arms of keys by what `lakemill serve` computes, those on both sides of a border among them.
fn split_vectors(keys: &[Value]) -> Vec<Value> {
    let arm_of = |salt: &str, arms: &[(String, u64)], key: &str| {
        let settings =
            TableSettings { split: Some(arms.to_vec()), salt: Some(salt.into()), ..TableSettings::default() };
        settings.split("table").unwrap().unwrap().arm_of(key.as_bytes())
    };
    let hundred: Vec<(String, u64)> = (0..100).map(|arm| (format!("a{arm}"), 1)).collect();
    let at = |point: usize| {
        let falls = |key: &String| arm_of("card_fraud", &hundred, key) == point;
        (0..).map(|key: u32| key.to_string()).find(falls).unwrap()
    };
    let mut asked: Vec<String> = [0, 9, 10, 89, 90, 99].map(at).to_vec();
    asked.extend(keys.iter().step_by(5).map(|vector| vector["key"].as_str().unwrap().to_owned()));
    let splits: [(&str, &[(&str, u64)]); 6] = [
        ("card_fraud", &[("champion", 90), ("challenger", 10)]),
        ("card_fraud", &[("challenger", 10), ("champion", 90)]),
        ("card_fraud", &[("all", 1)]),
        ("spring é😀:2018", &[("a", 1), ("b", 1), ("c", 1)]),
        ("", &[("no", 0), ("a", 5), ("nothing", 0), ("b", 5), ("never", 0)]),
        ("card_fraud", &[("a", 333_333), ("b", 333_334), ("c", 333_333)]),
    ];
    let vector = |(salt, arms): (&str, &[(&str, u64)])| {
        let arms: Vec<(String, u64)> = arms.iter().map(|(arm, weight)| ((*arm).to_owned(), *weight)).collect();
        let keys: Vec<Value> = asked.iter().map(|key| json!([key, arms[arm_of(salt, &arms, key)].0])).collect();
        json!({ "salt": salt, "arms": arms, "keys": keys })
    };
    splits.map(vector).to_vec()
}

fn checksum_vectors(values: &[Value]) -> Vec<Value> {
    let value = |index: usize| values[index]["value"].as_str().unwrap().to_owned();
    let long = "long ".repeat(100);
    let tables: [Vec<(&str, String)>; 4] = [
        vec![],
        vec![("a", "{\"score\":0.25}".into())],
        vec![("é|😀", value(0)), ("2", value(1)), ("3", value(2))],
        vec![("a", format!("{{\"note\":\"{long}\"}}")), ("b", value(0))],
    ];
    let vector = |pairs: Vec<(&str, String)>| {
        let mut checksum = Checksum::default();
        pairs.iter().for_each(|(key, value)| checksum.add(key.as_bytes(), value.as_bytes()));
        json!({ "pairs": pairs, "checksum": checksum })
    };
    tables.into_iter().map(vector).collect()
}

/// Metadata as it is stored, but for the members that depend on the clock and the machine.
fn metadata_vectors() -> Vec<Value> {
    let place = Place::new(Kind::File).unwrap();
    place.publish(&values(), 1, 1);
    let published = place.metadata();
    [(None, 1), (Some(604_800), 43)]
        .map(|(ttl_secs, generation)| {
            let mut metadata: GenerationMetadata = serde_json::from_value(published.clone()).unwrap();
            metadata.published_at = "2018-06-21T02:14:07Z".to_owned();
            // Of the machine: the size of its pages, and what follows from that.
            (metadata.file_bytes, metadata.file_checksum) =
                (12_288, format!("blake3:{}", "0123456789abcdef".repeat(4)));
            (metadata.ttl_secs, metadata.generation) = (ttl_secs, generation);
            if ttl_secs.is_some() {
                metadata.key.push(Column { name: "day".into(), data_type: "Date32".into() });
            }
            json!({
                "text": String::from_utf8(metadata.to_json().unwrap()).unwrap(),
                "generation": generation,
                "key": metadata.key_names(),
                "values": metadata.values.iter().map(|column| &column.name).collect::<Vec<_>>(),
                "expires_at": metadata.expiry(),
            })
        })
        .to_vec()
}

/// The names of a generation's parts in both stores.
fn name_vectors() -> Vec<Value> {
    let name = |generation: u64, key: &str, partitions: u32| {
        let bucket = partition_of(key.as_bytes(), partitions);
        json!({
            "table": "card_fraud", "prefix": "lakemill", "generation": generation, "key": key, "partitions": partitions,
            "pointer_file": "lookup/card_fraud/CURRENT",
            "pointer_text": format!("v={generation:06}\n"),
            "data_file": format!("lookup/card_fraud/v={generation:06}/data.mdb"),
            "metadata_file": format!("lookup/card_fraud/v={generation:06}/generation.json"),
            "redis_pointer": "lakemill:card_fraud:current",
            "redis_metadata": format!("lakemill:card_fraud:generation:{generation}"),
            "redis_bucket": format!("lakemill:{{card_fraud:{bucket}}}:{generation}"),
            "redis_string": format!("lakemill:card_fraud:{generation}:{key}"),
        })
    };
    vec![name(1, "42", 1), name(43, "é|b\\|c", 64), name(1_234_567, "customer 1", 156_250)]
}

#[test]
fn the_test_vectors_are_what_the_encoders_give() {
    let (keys, values) = (key_vectors(), value_vectors());
    let vectors = json!({
        "format": FORMAT,
        "partitions": partition_vectors(&keys),
        "splits": split_vectors(&keys),
        "keys": keys,
        "checksums": checksum_vectors(&values),
        "values": values,
        "metadata": metadata_vectors(),
        "names": name_vectors(),
    });
    let made = format!("{}\n", serde_json::to_string_pretty(&vectors).unwrap());
    let path = root().join("clients/vectors.json");
    if std::env::var_os("LAKEMILL_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "clients/vectors.json is not what the encoders give; LAKEMILL_BLESS=1 rewrites it");
}

/// Puts a vector's names, which are of one table and prefix, into those of a place.
fn at(place: &Place, name: &Value) -> String {
    name.as_str().unwrap().replace("card_fraud", place.table_name()).replacen("lakemill", place.prefix(), 1)
}

#[test]
fn the_names_in_the_test_vectors_are_those_of_the_stores() {
    let first = &name_vectors()[0];
    let rows = super::rows(&["42".to_owned()], 1);
    let value = r#"{"value":1}"#;

    let place = Place::new(Kind::File).unwrap();
    place.publish(&rows, 1, 1);
    let file = |name: &str| place.folder().join("../..").join(at(&place, &first[name]));
    assert_eq!(fs::read_to_string(file("pointer_file")).unwrap(), first["pointer_text"].as_str().unwrap());
    assert!(file("data_file").is_file() && file("metadata_file").is_file());

    for kind in Kind::SERVER {
        let Some(place) = Place::new(*kind) else { return };
        place.publish(&rows, 1, 1);
        let mut server = place.server();
        let name = |name: &str| at(&place, &first[name]);
        assert_eq!(server.get::<_, u64>(name("redis_pointer")).unwrap(), 1);
        assert_eq!(place.metadata()["partitions"], first["partitions"]);
        assert!(server.exists::<_, bool>(name("redis_metadata")).unwrap());
        let stored: String = match kind {
            Kind::Strings => server.get(name("redis_string")).unwrap(),
            _ => server.hget(name("redis_bucket"), "42").unwrap(),
        };
        assert_eq!(stored, value);
    }
}
