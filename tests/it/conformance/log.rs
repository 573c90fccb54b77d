//! Writes Delta logs by hand: actions as JSON, checkpoints of every form, deletion vectors.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A table's folder.
pub struct Log {
    pub root: PathBuf,
}

impl Log {
    pub fn new(root: PathBuf) -> Self {
        fs::create_dir_all(root.join("_delta_log")).unwrap();
        Self { root }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join("_delta_log").join(name)
    }

    pub fn commit(&self, version: u64, actions: &[Value]) {
        fs::write(self.file(&format!("{version:020}.json")), lines(actions)).unwrap();
    }

    /// Writes a data file and gives the action that adds it, with its row count as statistics.
    pub fn add(&self, path: &str, batch: &RecordBatch) -> Value {
        let file = self.root.join(path);
        let size = write_parquet(&file, batch);
        let stats = json!({ "numRecords": batch.num_rows() }).to_string();
        json!({"add": {"path": path, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": true,
            "stats": stats}})
    }

    pub fn checkpoint(&self, version: u64, actions: &[Value]) {
        write_actions(&self.file(&format!("{version:020}.checkpoint.parquet")), actions, &checkpoint_schema());
        self.last_checkpoint(json!({"version": version, "size": actions.len()}));
    }

    /// A checkpoint in several files; `lost` leaves that part out.
    pub fn checkpoint_in_parts(&self, version: u64, parts: &[&[Value]], lost: Option<usize>) {
        for (index, actions) in parts.iter().enumerate().filter(|(index, _)| Some(*index) != lost) {
            let name = format!("{version:020}.checkpoint.{:010}.{:010}.parquet", index + 1, parts.len());
            write_actions(&self.file(&name), actions, &checkpoint_schema());
        }
        self.last_checkpoint(json!({"version": version, "size": 1, "parts": parts.len()}));
    }

    /// A checkpoint of the second form: `top` as JSON or Parquet, the files in sidecars.
    pub fn checkpoint_with_sidecars(&self, version: u64, form: &str, top: &[Value], sidecars: &[&[Value]]) {
        fs::create_dir_all(self.file("_sidecars")).unwrap();
        let mut actions = vec![json!({"checkpointMetadata": {"version": version}})];
        actions.extend(top.iter().cloned());
        for (index, adds) in sidecars.iter().enumerate() {
            let name = format!("{version:020}.checkpoint.{index:010}.{UUID}.parquet");
            let size = write_actions(&self.file("_sidecars").join(&name), adds, &checkpoint_schema());
            actions.push(json!({"sidecar": {"path": name, "sizeInBytes": size, "modificationTime": 1}}));
        }
        let name = self.file(&format!("{version:020}.checkpoint.{UUID}.{form}"));
        if form == "json" {
            fs::write(name, lines(&actions)).unwrap();
        } else {
            write_actions(&name, &actions, &checkpoint_schema());
        }
    }

    pub fn last_checkpoint(&self, hint: Value) {
        fs::write(self.file("_last_checkpoint"), hint.to_string()).unwrap();
    }

    pub fn remove_commits(&self, versions: std::ops::RangeInclusive<u64>) {
        for version in versions {
            fs::remove_file(self.file(&format!("{version:020}.json"))).unwrap();
        }
    }

    /// A deletion vector in a file of its own beside the data.
    pub fn deletion_vector_file(&self, deleted: &[u32]) -> Value {
        let data = roaring(deleted);
        let mut bytes = vec![1_u8];
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(&data);
        bytes.extend(crc32(&data).to_be_bytes());
        fs::write(self.root.join(format!("deletion_vector_{UUID}.bin")), bytes).unwrap();
        let id: Vec<u8> = hex(&UUID.replace('-', ""));
        json!({"storageType": "u", "pathOrInlineDv": z85(&id), "offset": 1, "sizeInBytes": data.len(),
            "cardinality": deleted.len()})
    }
}

impl Log {
    /// Several deletion vectors in one file, in a folder of this name of two letters.
    pub fn deletion_vectors_in_one_file(&self, folder: &str, vectors: &[&[u32]]) -> Vec<Value> {
        let id = format!("{folder}{}", z85(&hex(&UUID.replace('-', ""))));
        let (mut bytes, mut told) = (vec![1_u8], Vec::new());
        for deleted in vectors {
            let data = roaring(deleted);
            told.push(
                json!({"storageType": "u", "pathOrInlineDv": id, "offset": bytes.len(), "sizeInBytes": data.len(),
                "cardinality": deleted.len()}),
            );
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(&data);
            bytes.extend(crc32(&data).to_be_bytes());
        }
        fs::create_dir_all(self.root.join(folder)).unwrap();
        fs::write(self.root.join(folder).join(format!("deletion_vector_{UUID}.bin")), bytes).unwrap();
        told
    }
}

const UUID: &str = "3a0d65cd-4056-49b8-937b-95f9e3ee90e5";

/// A deletion vector inside the action itself.
pub fn inline_deletion_vector(deleted: &[u32]) -> Value {
    let mut data = roaring(deleted);
    let size = data.len();
    data.resize(size.next_multiple_of(4), 0);
    json!({"storageType": "i", "pathOrInlineDv": z85(&data), "sizeInBytes": size, "cardinality": deleted.len()})
}

pub fn protocol(reader: i32, writer: i32) -> Value {
    json!({"protocol": {"minReaderVersion": reader, "minWriterVersion": writer}})
}

/// Version 3 and 7 with named features; `writers_only` stand among the writer's alone.
pub fn features(both: &[&str], writers_only: &[&str]) -> Value {
    let writer: Vec<&str> = both.iter().chain(writers_only).copied().collect();
    json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": both, "writerFeatures": writer}})
}

pub fn field(name: &str, kind: impl Into<Value>) -> Value {
    json!({"name": name, "type": kind.into(), "nullable": true, "metadata": {}})
}

/// A column that has another name inside the files.
pub fn mapped(name: &str, kind: impl Into<Value>, id: i32, physical: &str) -> Value {
    json!({"name": name, "type": kind.into(), "nullable": true,
        "metadata": {"delta.columnMapping.id": id, "delta.columnMapping.physicalName": physical}})
}

pub fn metadata(fields: &[Value], partitions: &[&str], configuration: Value) -> Value {
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    json!({"metaData": {"id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema, "partitionColumns": partitions, "configuration": configuration, "createdTime": 1}})
}

/// The action with another value at a place such as `/add/partitionValues`.
pub fn with(mut action: Value, place: &str, value: Value) -> Value {
    let (parent, key) = place.rsplit_once('/').unwrap();
    action.pointer_mut(parent).unwrap()[key] = value;
    action
}

pub fn remove(add: &Value) -> Value {
    let mut remove = json!({"path": add["add"]["path"], "deletionTimestamp": 2, "dataChange": true});
    if let Some(vector) = add["add"].get("deletionVector") {
        remove["deletionVector"] = vector.clone();
    }
    json!({ "remove": remove })
}

pub fn lines(actions: &[Value]) -> String {
    actions.iter().map(|action| format!("{action}\n")).collect()
}

pub fn write_parquet(file: &Path, batch: &RecordBatch) -> u64 {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(file).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    fs::metadata(file).unwrap().len()
}

/// Actions as the rows of a checkpoint.
pub fn write_actions(file: &Path, actions: &[Value], schema: &SchemaRef) -> u64 {
    let mut reader = arrow::json::ReaderBuilder::new(Arc::clone(schema)).build_decoder().unwrap();
    reader.serialize(actions).unwrap();
    let batch = reader.flush().unwrap().unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema)));
    write_parquet(file, &batch)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn map(name: &str) -> Field {
    let entries = Field::new_struct("key_value", vec![Field::new("key", DataType::Utf8, false), text("value")], false);
    Field::new(name, DataType::Map(Arc::new(entries), false), true)
}

fn texts(name: &str) -> Field {
    Field::new_list(name, text("element"), true)
}

fn small(name: &str) -> Field {
    Field::new(name, DataType::Int32, true)
}

/// The columns of a checkpoint, with statistics as JSON.
pub fn checkpoint_schema() -> SchemaRef {
    let statistics = text("stats");
    checkpoint_schema_with(statistics)
}

/// The columns of a checkpoint, with that column for statistics.
pub fn checkpoint_schema_with(statistics: Field) -> SchemaRef {
    let vector =
        vec![text("storageType"), text("pathOrInlineDv"), small("offset"), small("sizeInBytes"), number("cardinality")];
    let changes = Field::new("dataChange", DataType::Boolean, true);
    let add = vec![
        text("path"),
        map("partitionValues"),
        number("size"),
        number("modificationTime"),
        changes.clone(),
        statistics,
        Field::new_struct("deletionVector", vector, true),
    ];
    let format = Field::new_struct("format", vec![text("provider"), map("options")], true);
    let metadata = vec![
        text("id"),
        format,
        text("schemaString"),
        texts("partitionColumns"),
        map("configuration"),
        number("createdTime"),
    ];
    let protocol =
        vec![small("minReaderVersion"), small("minWriterVersion"), texts("readerFeatures"), texts("writerFeatures")];
    Arc::new(Schema::new(vec![
        Field::new_struct("add", add, true),
        Field::new_struct("remove", vec![text("path"), number("deletionTimestamp"), changes], true),
        Field::new_struct("metaData", metadata, true),
        Field::new_struct("protocol", protocol, true),
        Field::new_struct("sidecar", vec![text("path"), number("sizeInBytes"), number("modificationTime")], true),
        Field::new_struct("checkpointMetadata", vec![number("version")], true),
    ]))
}

/// Row numbers as a 64-bit roaring bitmap in the portable form, behind Delta's magic number.
fn roaring(rows: &[u32]) -> Vec<u8> {
    let mut bytes = 1_681_511_377_u32.to_le_bytes().to_vec();
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    let mut keys: Vec<u16> = rows.iter().map(|row| (row >> 16) as u16).collect();
    keys.dedup();
    bytes.extend(12_346_u32.to_le_bytes());
    bytes.extend((keys.len() as u32).to_le_bytes());
    let of = |key: u16| rows.iter().filter(move |row| (**row >> 16) as u16 == key).map(|row| *row as u16);
    for key in &keys {
        bytes.extend(key.to_le_bytes());
        bytes.extend(((of(*key).count() - 1) as u16).to_le_bytes());
    }
    // Up to 4096 rows of 65,536 are listed, more are bits.
    const LISTED: usize = 4096;
    let mut offset = 8 + 8 * keys.len();
    for key in &keys {
        bytes.extend((offset as u32).to_le_bytes());
        offset += if of(*key).count() > LISTED { 8192 } else { 2 * of(*key).count() };
    }
    for key in &keys {
        if of(*key).count() > LISTED {
            let mut bits = [0_u8; 8192];
            of(*key).for_each(|row| bits[usize::from(row >> 3)] |= 1 << (row & 7));
            bytes.extend(bits);
        } else {
            of(*key).for_each(|row| bytes.extend(row.to_le_bytes()));
        }
    }
    bytes
}

fn z85(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut out = String::new();
    for chunk in bytes.chunks(4) {
        let number = u32::from_be_bytes(chunk.try_into().unwrap());
        for power in (0..5).rev() {
            out.push(DIGITS[(number / 85_u32.pow(power) % 85) as usize] as char);
        }
    }
    out
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}
