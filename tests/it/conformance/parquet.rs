//! The shared Parquet files by their manifest: rows and columns as others count them, cells where the
//! suite gives them, and files that nobody reads refused by name. Then files that are damaged on purpose.

use super::cells::Rows;
use super::delta::well_told;
use super::log::write_parquet;
use super::outcomes::{Outcome, Read, judge};
use super::{pin, request, select};
use crate::shared::shared;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use lakemill::error::Error;
use lakemill::tables::{self, At, PinnedTable};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Type as Physical};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

#[tokio::test]
async fn shared_parquet_files_have_the_rows_that_others_count() {
    let Some(folder) = shared("conformance/parquet") else { return };
    let outcomes = parquet_cases(&folder).await;
    assert!(outcomes.len() > 80, "only {} cases", outcomes.len());
    judge(&outcomes);
}

/// Files that others read and the Parquet library does not, and why. Whichever of them it comes to read
/// must be taken out here.
const UNREAD: &[(&str, &str)] = &[
    ("dict-page-offset-zero.parquet", "its footer has a list of the wrong type"),
    ("nation.dict-malformed.parquet", "its dictionary page is not where its footer says"),
    ("repeated_no_annotation.parquet", "its footer counts no rows, its row group counts 6"),
];

/// Every case of the manifest whose file is there.
pub async fn parquet_cases(folder: &Path) -> Vec<Outcome> {
    let text = fs::read_to_string(folder.join("STATUS.tsv")).unwrap();
    let mut outcomes = Vec::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (name, pyarrow, duckdb) = (columns[0], columns[2], columns[3]);
        let file = folder.join(name);
        if !file.exists() {
            println!("not there: {name}");
            continue;
        }
        let wanted =
            pyarrow.split_once('x').and_then(|(rows, columns)| Some((rows.parse().ok()?, columns.parse().ok())));
        let wanted = wanted.or_else(|| Some((duckdb.parse().ok()?, None)));
        let found = read(&file).await;
        if let (Ok(_), Some((_, why))) = (&found, UNREAD.iter().find(|(file, _)| name.ends_with(file))) {
            panic!("{name} is read now, although {why}");
        }
        let result = match (found, wanted) {
            (Ok((table, batches)), Some((rows, columns))) => {
                in_both(&table, &batches, counted(&file, &batches, rows, columns)).await
            }
            (Ok((_, batches)), None) => Read::Wrong(format!("read, with {} columns", batches[0].num_columns())),
            // What one of the others does not read either, or what is known of our library, may be refused.
            (Err(error), Some(_))
                if pyarrow.starts_with("ERR") || UNREAD.iter().any(|(file, _)| name.ends_with(file)) =>
            {
                well_told(&error)
            }
            (Err(error), Some(_)) => Read::Wrong(format!("{error:?}")),
            (Err(error), None) => well_told(&error),
        };
        let mut features = features(&file);
        if let (Read::Refused(_), false) = (&result, features == ["encryption"]) {
            // Neither codec nor encoding is the reason.
            let known = UNREAD.iter().any(|(file, _)| name.ends_with(file));
            features = vec![if known { "contradictions inside a file" } else { "values of a gigabyte" }.to_owned()];
        }
        outcomes.push(Outcome { features, name: name.to_owned(), result });
    }
    outcomes.extend(every_codec().await);
    outcomes
}

/// Files of our own in every codec.
async fn every_codec() -> Vec<Outcome> {
    let lake = TempDir::new().unwrap();
    let codecs = [
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ];
    let mut outcomes = Vec::new();
    for codec in codecs {
        let file = lake.path().join("made.parquet");
        let properties = WriterProperties::builder().set_compression(codec).build();
        let written = sample(3000);
        let mut writer =
            ArrowWriter::try_new(fs::File::create(&file).unwrap(), written.schema(), Some(properties)).unwrap();
        writer.write(&written).unwrap();
        writer.close().unwrap();
        let result = match read(&file).await {
            Ok((table, batches)) => match Rows::of(&batches).differs(&Rows::of(&[written])) {
                None => in_both(&table, &batches, Read::Equal).await,
                Some(difference) => Read::Wrong(difference),
            },
            Err(error) => Read::Wrong(format!("{error:?}")),
        };
        outcomes.push(Outcome { features: features(&file), name: format!("made with {codec}"), result });
    }
    outcomes
}

async fn read(file: &Path) -> Result<(PinnedTable, Vec<RecordBatch>), Error> {
    let table = tables::pin_as(&request(file, At::Latest), "parquet").await?;
    let batches = select(&table, "SELECT * FROM t").await?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(table.rows, Some(rows as u64), "{}: the pin's count", file.display());
    Ok((table, batches))
}

/// What became of a file that is read, once Polars has read it too.
async fn in_both(table: &PinnedTable, batches: &[RecordBatch], result: Read) -> Read {
    let is_equal = matches!(result, Read::Equal);
    if !matches!(result, Read::Equal | Read::Counted) {
        return result;
    }
    match super::delta::counted(table, &Rows::of(batches)).await {
        Read::CountedInBoth if is_equal => Read::EqualInBoth,
        Read::Counted => result,
        other => other,
    }
}

fn counted(file: &Path, batches: &[RecordBatch], rows: usize, columns: Option<usize>) -> Read {
    let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if found != rows || columns.is_some_and(|columns| columns != batches[0].num_columns()) {
        return Read::Wrong(format!("{found} x {} instead of {rows} x {columns:?}", batches[0].num_columns()));
    }
    let expected = file.with_file_name(format!("{}_expect.csv", file.file_stem().unwrap().to_string_lossy()));
    if !expected.exists() {
        return Read::Counted;
    }
    match differs(batches, &fs::read_to_string(expected).unwrap()) {
        None => Read::Equal,
        Some(difference) => Read::Wrong(difference),
    }
}

/// The first cell that is not as the suite's own list of values has it.
fn differs(batches: &[RecordBatch], expected: &str) -> Option<String> {
    let names = expected.lines().next().unwrap().split(',');
    let schema = Schema::new(names.map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>());
    let reader = arrow::csv::ReaderBuilder::new(Arc::new(schema)).with_header(true).build(expected.as_bytes()).unwrap();
    let expected: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let whole = |batches: &[RecordBatch]| arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap();
    let (found, expected) = (whole(batches), whole(&expected));
    let as_text = |column: &ArrayRef| cast(column, &DataType::Utf8).unwrap();
    for (index, wanted) in expected.columns().iter().enumerate() {
        let (found, wanted) = (as_text(found.column(index)), as_text(wanted));
        let (found, wanted) = (found.as_string::<i32>(), wanted.as_string::<i32>());
        // In the lists an empty field is NULL or empty text.
        let text =
            |array: &StringArray, row| if array.is_null(row) { String::new() } else { array.value(row).to_owned() };
        if let Some(row) = (0..wanted.len()).find(|row| text(found, *row) != text(wanted, *row)) {
            return Some(format!("column {index}, row {row}: {} instead of {}", text(found, row), text(wanted, row)));
        }
    }
    None
}

/// Codecs, encodings and kinds of columns that a file has.
fn features(file: &Path) -> Vec<String> {
    if file.to_string_lossy().contains("encrypted") || file.extension().is_some_and(|ending| ending == "encrypted") {
        return vec!["encryption".to_owned()];
    }
    let Ok(reader) = SerializedFileReader::new(fs::File::open(file).unwrap()) else {
        return vec!["a footer that is damaged".to_owned()];
    };
    let mut features = BTreeSet::new();
    for column in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
        let codec = format!("{:?}", column.compression());
        features.insert(format!("codec {}", codec.split('(').next().unwrap().to_lowercase()));
        for encoding in column.encodings() {
            features.insert(format!("encoding {encoding:?}").to_lowercase());
        }
        let description = column.column_descr();
        if description.physical_type() == Physical::INT96 {
            features.insert("timestamps of 96 bits".to_owned());
        }
        if description.max_rep_level() > 0 {
            features.insert("lists and maps".to_owned());
        } else if description.path().parts().len() > 1 {
            features.insert("structs".to_owned());
        }
    }
    if features.is_empty() {
        features.insert("no rows".to_owned());
    }
    features.into_iter().collect()
}

#[tokio::test]
async fn encrypted_files_are_refused_by_that_word_whatever_they_are_called() {
    let Some(folder) = shared("conformance/parquet/data") else { return };
    let lake = TempDir::new().unwrap();
    for name in ["encrypt_columns_and_footer", "encrypt_columns_plaintext_footer", "uniform_encryption"] {
        let original = folder.join(format!("{name}.parquet.encrypted"));
        let copy = lake.path().join(format!("{name}.parquet"));
        fs::copy(&original, &copy).unwrap();
        for file in [&original, &copy] {
            let error = match tables::pin_as(&request(file, At::Latest), "parquet").await {
                Ok(table) => select(&table, "SELECT * FROM t").await.unwrap_err(),
                Err(error) => error,
            };
            assert!(error.message().contains("is encrypted"), "{error:?}");
            assert!(error.to_string().contains(name) && error.hint_text().is_some(), "{error:?}");
        }
    }
}

fn sample(rows: i64) -> RecordBatch {
    let names: Vec<String> = (0..rows).map(|row| format!("name {}", row % 17)).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(|row| (row % 5 > 0).then_some(row))));
    RecordBatch::try_from_iter([("id", numbers), ("name", Arc::new(StringArray::from(names)))]).unwrap()
}

#[tokio::test]
async fn a_damaged_file_fails_by_name_and_never_panics() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("sample.parquet");
    write_parquet(&path, &sample(2000));
    let whole = fs::read(&path).unwrap();
    let mut files = vec![("our own".to_owned(), whole)];
    if let Some(folder) = shared("conformance/parquet/data") {
        for name in [
            "alltypes_plain.snappy",
            "nested_maps.snappy",
            "datapage_v2.snappy",
            "list_columns",
            "int96_from_spark",
            "byte_stream_split.zstd",
            "delta_byte_array",
            "rle_boolean_encoding",
            "float16_nonzeros_and_nans",
            "sort_columns",
            "byte_array_decimal",
            "lz4_raw_compressed",
            "concatenated_gzip_members",
            "repeated_no_annotation",
        ] {
            files.push((name.to_owned(), fs::read(folder.join(format!("{name}.parquet"))).unwrap()));
        }
    }
    let (mut failed, mut seed) = (0, 7_u64);
    let mut next = move || {
        // A generator of its own, so that a failure can be repeated.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for (name, whole) in &files {
        for round in 0..40 {
            let mut bytes = whole.clone();
            match round % 4 {
                0 => bytes.truncate(next() % bytes.len()),
                1 => {
                    // The last part, where the footer is.
                    let at = bytes.len() - 1 - next() % bytes.len().min(400);
                    bytes[at] ^= 1 << (next() % 8);
                }
                _ => (0..=round % 7).for_each(|_| {
                    let at = next() % bytes.len();
                    bytes[at] = next() as u8;
                }),
            }
            let file = lake.path().join(format!("damaged-{round}.parquet"));
            fs::write(&file, &bytes).unwrap();
            // What is still readable may be read; a changed value is nobody's to find without checksums.
            let read = match pin(&file, At::Latest).await {
                Ok(table) => select(&table, "SELECT * FROM t").await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                failed += 1;
                let told = error.to_string();
                assert!(told.contains(&format!("damaged-{round}.parquet")), "{name} {round}: {error:?}");
            }
            fs::remove_file(&file).unwrap();
        }
    }
    println!("{failed} of {} damaged files failed", files.len() * 40);
    assert!(failed > files.len() * 10, "{failed}");
}
