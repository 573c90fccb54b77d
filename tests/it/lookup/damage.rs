//! Generations that somebody or something has altered: told by every reader that could be misled.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn damage_is_told_and_never_read() {
    type Damage = fn(&Path);
    let missing = "the generation is missing or incomplete";
    let cases: &[(&str, Damage)] = &[
        ("the pointer to the current generation is damaged", |t| fs::write(t.join("CURRENT"), "v=1\n").unwrap()),
        ("the pointer to the current generation is damaged", |t| fs::write(t.join("CURRENT"), [0xff, 0]).unwrap()),
        (missing, |t| fs::write(t.join("CURRENT"), "v=000007\n").unwrap()),
        (missing, |t| fs::remove_dir_all(t.join("v=000001")).unwrap()),
        (missing, |t| fs::remove_file(t.join("v=000001/generation.json")).unwrap()),
        ("the generation's metadata is damaged", |t| fs::write(t.join("v=000001/generation.json"), "{").unwrap()),
        ("the generation has format 1, this binary reads 2", |t| {
            fs::write(t.join("v=000001/generation.json"), r#"{"format": 1}"#).unwrap();
        }),
        ("the generation's metadata is that of another one", |t| {
            fs::rename(t.join("v=000001"), t.join("v=000002")).unwrap();
            fs::write(t.join("CURRENT"), "v=000002\n").unwrap();
        }),
        ("the generation lacks its data", |t| fs::remove_file(t.join("v=000001/data.mdb")).unwrap()),
        ("the generation's data is truncated or altered", |t| resize(t, |bytes| bytes - 1)),
        ("the generation's data is truncated or altered", |t| resize(t, |_| 0)),
        ("the generation's data is truncated or altered", |t| resize(t, |bytes| bytes + 4096)),
        ("the generation is damaged", |t| {
            let data = t.join("v=000001/data.mdb");
            fs::write(&data, vec![7; fs::metadata(&data).unwrap().len() as usize]).unwrap();
        }),
        ("the generation has other keys than recorded", |t| {
            let path = t.join("v=000001/generation.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("\"keys\": 2", "\"keys\": 3")).unwrap();
        }),
    ];
    fn resize(table: &Path, length: impl Fn(u64) -> u64) {
        let data = fs::File::options().write(true).open(table.join("v=000001/data.mdb")).unwrap();
        data.set_len(length(data.metadata().unwrap().len())).unwrap();
    }
    for (message, damage) in cases {
        let home = TempDir::new().unwrap();
        publish(&table(&home), &[rows(&["a", "b"], 1)]).unwrap();
        damage(&table(&home).folder);
        refused(store().open(&table(&home)), ErrorKind::Verification, message);
    }
}

#[test]
fn an_altered_byte_is_found_by_verify() {
    let home = TempDir::new().unwrap();
    publish(&table(&home), &[rows(&["a", "b"], 1)]).unwrap();
    let data = table(&home).folder.join("v=000001/data.mdb");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o644);
    let mut bytes = fs::read(&data).unwrap();
    let at = bytes.windows(11).position(|window| window == br#"{"value":1}"#).unwrap();
    bytes[at + 9] = b'2';
    fs::write(&data, bytes).unwrap();
    let verified = reader(&table(&home)).verify();
    refused(verified, ErrorKind::Verification, "the generation has other bytes than recorded");
}
