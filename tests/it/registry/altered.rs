//! Files that were altered, cut, swapped or written by somebody else are refused, never used.

use super::models::Trained;
use super::{Home, block_on, change, register};
use lakemill::error::{Error, ErrorKind};
use sha2::{Digest, Sha256};
use std::fs::File;

const VERSION: &str = "models/card_fraud/versions/000001";

fn refused(home: &Home) -> Error {
    let error = block_on(home.registry.load("card_fraud", 1)).map(|loaded| loaded.version).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification, "{error:?}");
    error
}

fn payload(home: &Home) -> String {
    home.files().into_keys().find(|name| name.contains("payload-")).unwrap()
}

/// The text of an artifact with its checksum made right again.
fn resealed(text: &str) -> String {
    let (head, rest) = (&text[..text.find(": \"").unwrap() + 3], &text[text.find("\",").unwrap() + 1..]);
    let digest: String = Sha256::digest(rest).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{head}{digest}\"{rest}")
}

#[test]
fn every_altered_or_missing_byte_is_found() {
    let home = Home::new();
    block_on(register(&home.registry, &Trained::forest("card_fraud", 3))).unwrap();
    for file in [format!("{VERSION}/artifact.json"), payload(&home)] {
        let good = home.files().remove(&file).unwrap();
        let step = (good.len() / 150).max(1);
        for at in (0..good.len()).step_by(step).chain([good.len() - 1]) {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            home.write(&file, &flipped);
            let error = refused(&home);
            let name = file.rsplit('/').next().unwrap();
            assert!(error.to_string().contains(name), "{error} does not name {name}");
            home.write(&file, &good[..at]);
            refused(&home);
        }
        home.write(&file, &[&good[..], b" "].concat());
        refused(&home);
        home.write(&file, &good);
        block_on(home.registry.load("card_fraud", 1)).unwrap();
    }
}

#[test]
fn files_of_any_size_are_refused_unread() {
    let home = block_on(Home::with_versions(1));
    for file in [payload(&home), format!("{VERSION}/artifact.json")] {
        File::options().write(true).open(home.folder.path().join(file)).unwrap().set_len(1 << 40).unwrap();
        assert!(refused(&home).message().contains("larger"));
    }
}

#[test]
fn files_in_the_wrong_place_are_refused() {
    let home = block_on(Home::with_versions(1));
    let files = home.files();
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with(VERSION)) {
        home.write(&name.replace("card_fraud", "other"), bytes);
    }
    let error = block_on(home.registry.load("other", 1)).map(drop).unwrap_err();
    assert!(error.message().contains("another model"), "{error}");

    let payload = payload(&home);
    std::fs::remove_file(home.folder.path().join(payload)).unwrap();
    assert!(refused(&home).message().contains("missing"));
}

#[test]
fn a_model_that_computes_something_else_is_refused() {
    let home = block_on(Home::with_versions(1));
    let file = format!("{VERSION}/artifact.json");
    let text = String::from_utf8(home.files().remove(&file).unwrap()).unwrap();
    assert_eq!(resealed(&text), text);

    let (before, outputs) = text.rsplit_once("\"outputs\": [").unwrap();
    let digit = outputs.rfind('"').unwrap() - 1;
    let mut other = outputs.to_owned().into_bytes();
    // The last bit of the last golden prediction.
    other[digit] = if other[digit] == b'0' { b'1' } else { b'0' };
    let other = format!("{before}\"outputs\": [{}", String::from_utf8(other).unwrap());
    home.write(&file, resealed(&other).as_bytes());
    let error = refused(&home);
    assert!(error.message().contains("golden"), "{error}");

    // So is one whose encoder was changed behind its back.
    for (from, to) in [
        ("\"fill\": ", "\"fill\": 1"),
        ("\"task\": \"binary\"", "\"task\": \"regression\""),
        ("\"outputs\": [", "\"outputs\": [\"00\","),
    ] {
        assert!(text.contains(from), "{from}");
        home.write(&file, resealed(&text.replacen(from, to, 1)).as_bytes());
        refused(&home);
    }
}

#[test]
fn a_newer_format_says_who_wrote_it() {
    let home = block_on(Home::with_versions(1));
    let file = format!("{VERSION}/artifact.json");
    let text = String::from_utf8(home.files().remove(&file).unwrap()).unwrap();
    let version = format!("\"lakemill\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version));
    let newer = text.replace("\"format\": 2", "\"format\": 3").replace(&version, "\"lakemill\": \"9.8.7\"");
    home.write(&file, resealed(&newer).as_bytes());
    let error = refused(&home);
    assert!(error.message().contains("written by a newer lakemill") && error.to_string().contains("9.8.7"), "{error}");
    assert!(error.hint_text().unwrap().contains("9.8.7"));
}

#[test]
fn hostile_json_gives_an_error() {
    let home = block_on(Home::with_versions(1));
    let file = format!("{VERSION}/artifact.json");
    let text = String::from_utf8(home.files().remove(&file).unwrap()).unwrap();
    let deep = "[".repeat(100_000);
    for hostile in [
        "",
        "{",
        "null",
        "\"sha256\"",
        &deep,
        &resealed(&text.replace("\"params\": {", &format!("\"params\": {deep}"))),
    ] {
        home.write(&file, hostile.as_bytes());
        refused(&home);
    }
    // One broken version does not hide the others, nor keep new ones out.
    let made = block_on(register(&home.registry, &Trained::new("card_fraud", "new"))).unwrap();
    assert_eq!(made.version, 2);
    let versions = block_on(home.registry.versions("card_fraud")).unwrap();
    assert!(versions[0].1.is_err() && versions[1].1.is_ok());
}

#[test]
fn altered_alias_records_are_refused() {
    let home = block_on(Home::with_versions(2));
    let registry = &home.registry;
    block_on(registry.promote("card_fraud", "champion", 1, &change("ann"), None)).unwrap();
    block_on(registry.promote("card_fraud", "champion", 2, &change("ann"), None)).unwrap();
    let [first, second] = ["000001", "000002"].map(|name| format!("models/card_fraud/aliases/champion/{name}.json"));
    let files = home.files();
    let forged = String::from_utf8(files[&second].clone()).unwrap().replace("\"version\": 2", "\"version\": 1");
    // Edited by hand, and a true record under another number.
    for bytes in [forged.as_bytes(), &files[&first]] {
        home.write(&second, bytes);
        let errors = [
            block_on(registry.alias("card_fraud", "champion")).map(drop).unwrap_err(),
            block_on(registry.history("card_fraud", "champion")).map(drop).unwrap_err(),
            block_on(registry.promote("card_fraud", "champion", 1, &change("ann"), None)).map(drop).unwrap_err(),
            block_on(registry.rollback("card_fraud", "champion", &change("ann"), None)).map(drop).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Verification), "{errors:?}");
        assert!(errors[0].to_string().contains("000002.json"), "{}", errors[0]);
    }
}
