//! The demo lake: the same at any number of threads and on any day alone, with frauds in their share, written once
//! and completed after an interruption; the shipped SQL over it; and the fixtures, which are a piece of it.

use arrow::array::{Array, AsArray};
use arrow::compute::{concat_batches, sum};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use datafusion::execution::context::SessionContext;
use lakemill::demo::{
    Generator, Spec, customers_schema, inspections_schema, terminals_schema, transactions_schema, write_lake,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn small() -> Spec {
    Spec { customers: 300, terminals: 600, days: 5, ..Spec::default() }
}

fn all_days(generator: &Generator) -> RecordBatch {
    let days: Vec<RecordBatch> = generator.days().map(|day| day.unwrap().1).collect();
    concat_batches(&transactions_schema(), &days).unwrap()
}

fn frauds(batch: &RecordBatch) -> f64 {
    f64::from(sum(batch["tx_fraud"].as_primitive::<Int32Type>()).unwrap_or(0))
}

#[test]
fn any_number_of_threads_makes_the_same_lake() {
    let spec = Spec { customers: 5_000, terminals: 10_000, days: 3, ..Spec::default() };
    let [one, four] = [1, 4].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let generator = Generator::new(spec.clone()).unwrap();
            (all_days(&generator), generator.customers().unwrap(), generator.terminals().unwrap())
        })
    });
    assert!(one.0.num_rows() > 20_000);
    assert_eq!(one, four);
}

#[test]
fn a_day_does_not_depend_on_other_days() {
    let all = Generator::new(small()).unwrap();
    let later = Generator::new(Spec { start: date("2018-04-03"), days: 1, ..small() }).unwrap();
    let third = all.days().nth(2).unwrap().unwrap();
    assert_eq!(third.0, date("2018-04-03"));
    assert_eq!(third.1, later.days().next().unwrap().unwrap().1);
    assert_eq!(third.1, all.day(date("2018-04-03")).unwrap());
    assert_ne!(third.1, all.day(date("2018-04-10")).unwrap());
}

#[test]
fn seeds_make_different_lakes() {
    let [seven, eight] = [7, 8].map(|seed| Generator::new(Spec { seed, ..small() }).unwrap());
    assert_ne!(all_days(&seven), all_days(&eight));
    assert_ne!(seven.customers().unwrap(), eight.customers().unwrap());
    assert_ne!(seven.terminals().unwrap(), eight.terminals().unwrap());
}

#[test]
fn the_schemas_are_exact() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let names_and_types = |batch: &RecordBatch| {
        batch
            .schema()
            .fields()
            .iter()
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect::<Vec<_>>()
    };
    let expected = |columns: &[(&str, DataType)]| {
        columns.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect::<Vec<_>>()
    };
    let generator = Generator::new(small()).unwrap();
    let day = generator.day(date("2018-04-01")).unwrap();
    assert_eq!(day.schema(), transactions_schema());
    assert_eq!(
        names_and_types(&day),
        expected(&[
            ("transaction_id", DataType::Int64),
            ("tx_datetime", micros),
            ("customer_id", DataType::Int32),
            ("terminal_id", DataType::Int32),
            ("tx_amount", DataType::Float64),
            ("tx_fraud", DataType::Int32),
            ("tx_date", DataType::Date32),
        ])
    );
    let [number, text] = [DataType::Float64, DataType::Utf8];
    for (batch, schema, key, kind) in [
        (generator.customers().unwrap(), customers_schema(), "customer_id", "segment"),
        (generator.terminals().unwrap(), terminals_schema(), "terminal_id", "category"),
    ] {
        assert_eq!(batch.schema(), schema);
        let columns = [(key, DataType::Int32), ("x", number.clone()), ("y", number.clone()), (kind, text.clone())];
        assert_eq!(names_and_types(&batch), expected(&columns));
    }
}

#[test]
fn every_terminal_is_inspected_every_four_weeks() {
    let spec = Spec { customers: 300, terminals: 600, days: 60, ..Spec::default() };
    let generator = Generator::new(spec.clone()).unwrap();
    let batch = generator.inspections().unwrap();
    assert_eq!(batch.schema(), inspections_schema());
    assert_eq!(batch, Generator::new(spec.clone()).unwrap().inspections().unwrap());
    let terminals = batch.column(0).as_primitive::<Int32Type>().values();
    let [inspected, reported] = [1, 2].map(|column| batch.column(column).as_primitive::<TimestampMicrosecondType>());
    let day = 86_400_000_000;
    let mut by_terminal: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        assert_eq!(reported.value(row) - inspected.value(row), 7 * day);
        by_terminal.entry(terminals[row]).or_default().push(inspected.value(row) / day);
    }
    assert_eq!(by_terminal.len(), 600);
    assert!(by_terminal.values().all(|days| days.windows(2).all(|two| two[1] - two[0] == 28) && days.len() >= 3));
    let skimmers = batch.column(3).as_boolean().true_count();
    assert!((10..200).contains(&skimmers), "{skimmers} of {}", batch.num_rows());
    assert!(inspected.values().is_sorted(), "in the order of their days");
}

#[test]
fn rows_are_in_order_and_refer_to_what_is_there() {
    let spec = small();
    let generator = Generator::new(spec.clone()).unwrap();
    let rows = all_days(&generator);
    let ids = rows["transaction_id"].as_primitive::<Int64Type>().values();
    let times = rows["tx_datetime"].as_primitive::<TimestampMicrosecondType>().values();
    assert!(ids.is_sorted_by(|a, b| a < b), "ids ascend and are unique");
    assert!(times.is_sorted(), "times ascend");
    let days = rows["tx_date"].as_primitive::<Date32Type>().values();
    assert!(times.iter().zip(days).all(|(time, day)| time.div_euclid(86_400_000_000) == i64::from(*day)));
    let amounts = rows["tx_amount"].as_primitive::<Float64Type>().values();
    assert!(amounts.iter().all(|amount| *amount > 0.0 && format!("{amount:.2}").parse() == Ok(*amount)), "cents");
    for (column, count) in [("customer_id", spec.customers), ("terminal_id", spec.terminals)] {
        let seen: BTreeSet<i32> = rows[column].as_primitive::<Int32Type>().values().iter().copied().collect();
        assert!(seen.iter().all(|id| (0..count as i32).contains(id)), "{column}");
        assert!(seen.len() > count as usize / 2, "most of {column} are used");
    }
    assert!(rows.columns().iter().all(|column| column.null_count() == 0));
    for (batch, kind) in [(generator.customers().unwrap(), "segment"), (generator.terminals().unwrap(), "category")] {
        let unknown = batch[kind].null_count();
        assert!(unknown > 0 && unknown * 5 < batch.num_rows(), "{unknown} of {} without a {kind}", batch.num_rows());
    }
}

#[test]
fn frauds_have_the_same_share_at_any_size_and_time() {
    for customers in [150, 600, 1_000, 2_000, 5_000] {
        let generator =
            Generator::new(Spec { customers, terminals: 2 * customers, days: 60, ..Spec::default() }).unwrap();
        let days: Vec<RecordBatch> = generator.days().map(|day| day.unwrap().1).collect();
        for half in [&days[..30], &days[30..]] {
            let rows = concat_batches(&transactions_schema(), half).unwrap();
            let share = frauds(&rows) / rows.num_rows() as f64;
            assert!((0.005..0.02).contains(&share), "{customers} customers: {share}");
        }
    }
}

#[test]
fn the_smallest_lakes_have_some_frauds_and_not_many() {
    for rows in [1_000, 5_000, 20_000] {
        for seed in 1..=5 {
            let rows = all_days(&Generator::new(Spec { seed, ..Spec::from_rows(rows) }).unwrap());
            let (frauds, all) = (frauds(&rows), rows.num_rows());
            let share = frauds / all as f64;
            assert!(frauds >= 2.0 && share < 0.03, "{frauds} of {all}");
        }
    }
}

#[test]
fn all_three_kinds_of_fraud_happen() {
    let generator = Generator::new(Spec { customers: 2_000, terminals: 4_000, days: 28, ..Spec::default() }).unwrap();
    let rows = all_days(&generator);
    let amounts = rows["tx_amount"].as_primitive::<Float64Type>().values();
    let is_fraud = rows["tx_fraud"].as_primitive::<Int32Type>().values();
    assert!(amounts.iter().zip(is_fraud).all(|(amount, fraud)| *amount <= 220.0 || *fraud == 1));
    assert!(amounts.iter().any(|amount| *amount > 220.0));

    // A compromised terminal shows by several small frauds on one day and no honest transaction.
    let mut by_terminal_day: HashMap<(i32, i32), (u32, u32)> = HashMap::new();
    let mut misused = 0;
    let terminals = rows["terminal_id"].as_primitive::<Int32Type>().values();
    let days = rows["tx_date"].as_primitive::<Date32Type>().values();
    for row in 0..rows.num_rows() {
        let seen = by_terminal_day.entry((terminals[row], days[row])).or_default();
        seen.0 += 1;
        seen.1 += u32::from(is_fraud[row] == 1);
    }
    for row in 0..rows.num_rows() {
        let (all, frauds) = by_terminal_day[&(terminals[row], days[row])];
        misused += u32::from(is_fraud[row] == 1 && amounts[row] <= 220.0 && frauds < all);
    }
    assert!(by_terminal_day.values().any(|&(all, frauds)| all >= 4 && frauds == all), "compromised terminals");
    assert!(misused > 20, "misused cards: {misused}");
}

#[test]
fn hours_and_weekdays_have_their_seasons() {
    let rows = all_days(&Generator::new(Spec { days: 28, ..Spec::default() }).unwrap());
    let (mut hours, mut weekdays) = ([0_u32; 24], [0_u32; 7]);
    for time in rows["tx_datetime"].as_primitive::<TimestampMicrosecondType>().values() {
        let seconds = time.div_euclid(1_000_000);
        hours[seconds.rem_euclid(86_400) as usize / 3600] += 1;
        // 1970-01-01 was a Thursday.
        weekdays[(seconds.div_euclid(86_400) + 3).rem_euclid(7) as usize] += 1;
    }
    assert!(hours.iter().all(|count| *count > 0));
    assert!(hours[12] > 5 * hours[4], "{hours:?}");
    assert!(f64::from(weekdays[5]) > 1.2 * f64::from(weekdays[6]), "{weekdays:?}");
}

#[test]
fn a_number_of_rows_is_met() {
    for rows in [1_000, 50_000, 400_000] {
        let spec = Spec::from_rows(rows);
        let made: usize = Generator::new(spec).unwrap().days().map(|day| day.unwrap().1.num_rows()).sum();
        let ratio = made as f64 / rows as f64;
        assert!((0.8..1.2).contains(&ratio), "{made} rows where {rows} were asked for");
    }
}

async fn count(folder: &Path) -> (u64, usize) {
    let url = url::Url::from_directory_path(folder.join("transactions")).unwrap();
    let table = deltalake::DeltaTable::try_from_url(url).await.unwrap();
    let session = SessionContext::new();
    session.register_table("transactions", table.table_provider().await.unwrap()).unwrap();
    table.update_datafusion_session(&session.state()).unwrap();
    let rows = session.table("transactions").await.unwrap().count().await.unwrap();
    (table.version().unwrap(), rows)
}

#[tokio::test]
async fn a_lake_is_written_once_and_completed() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let short = Generator::new(Spec { days: 2, ..small() }).unwrap();
    let full = Generator::new(small()).unwrap();
    let expected = all_days(&full).num_rows();

    let mut told = Vec::new();
    let first = write_lake(&short, &lake, &mut |day, rows| told.push((day, rows))).await.unwrap();
    assert_eq!((first.days_added, first.version), (2, 1));
    assert_eq!(told.iter().map(|(day, _)| day.to_string()).collect::<Vec<_>>(), ["2018-04-01", "2018-04-02"]);
    assert_eq!(told.iter().map(|(_, rows)| *rows as u64).sum::<u64>(), first.rows_added);

    let rest = write_lake(&full, &lake, &mut |_, _| ()).await.unwrap();
    assert_eq!((rest.days_added, rest.version), (3, 4));
    assert_eq!(count(&lake).await, (4, expected));

    let customers = fs::metadata(lake.join("customers/part-0.parquet")).unwrap().modified().unwrap();
    for generator in [&full, &short] {
        let again = write_lake(generator, &lake, &mut |_, _| ()).await.unwrap();
        assert_eq!((again.days_added, again.rows_added, again.version), (0, 0, 4));
    }
    assert_eq!(count(&lake).await, (4, expected));
    assert_eq!(fs::metadata(lake.join("customers/part-0.parquet")).unwrap().modified().unwrap(), customers);
}

#[tokio::test]
async fn another_lake_is_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    let one_day = |seed| Generator::new(Spec { days: 1, seed, ..small() }).unwrap();
    write_lake(&one_day(1), folder.path(), &mut |_, _| ()).await.unwrap();
    let before = (count(folder.path()).await, fs::read(folder.path().join("customers/part-0.parquet")).unwrap());
    let refused = write_lake(&one_day(2), folder.path(), &mut |_, _| ()).await.unwrap_err();
    assert_eq!(refused.kind(), lakemill::error::ErrorKind::Usage);
    assert_eq!(refused.message(), "another lake is there already");
    let after = (count(folder.path()).await, fs::read(folder.path().join("customers/part-0.parquet")).unwrap());
    assert_eq!(before, after, "nothing was written");
}

#[tokio::test]
async fn what_is_written_is_what_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let generator = Generator::new(Spec { days: 3, ..small() }).unwrap();
    write_lake(&generator, folder.path(), &mut |_, _| ()).await.unwrap();
    let url = url::Url::from_directory_path(folder.path().join("transactions")).unwrap();
    let table = deltalake::DeltaTable::try_from_url(url).await.unwrap();
    assert_eq!(table.snapshot().unwrap().metadata().partition_columns(), ["tx_date"]);
    let session = SessionContext::new();
    session.register_table("transactions", table.table_provider().await.unwrap()).unwrap();
    table.update_datafusion_session(&session.state()).unwrap();
    let rows =
        session.sql("SELECT * FROM transactions ORDER BY transaction_id").await.unwrap().collect().await.unwrap();
    let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
    let made = all_days(&generator);
    assert_eq!(rows.num_rows(), made.num_rows());
    for field in transactions_schema().fields() {
        let read = arrow::compute::cast(&rows[field.name().as_str()], field.data_type()).unwrap();
        assert_eq!(read.to_data(), made[field.name().as_str()].to_data(), "{}", field.name());
    }
}

/// The rows of a shipped statement for an interval of days, over tables in memory.
async fn run_sql(name: &str, start: &str, end: &str, tables: &[(&str, RecordBatch)]) -> RecordBatch {
    let session = SessionContext::new();
    for (table, batch) in tables {
        session.register_batch(*table, batch.clone()).unwrap();
    }
    let instant = |day: &str| format!("arrow_cast('{day}T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')");
    let sql = fs::read_to_string(root().join("sql").join(name)).unwrap();
    let sql = sql.replace("$interval_start", &instant(start)).replace("$interval_end", &instant(end));
    let rows = session.sql(&sql).await.unwrap().collect().await.unwrap();
    concat_batches(&rows[0].schema(), &rows).unwrap()
}

fn numbers(batch: &RecordBatch, column: &str) -> Vec<f64> {
    let cast = arrow::compute::cast(&batch[column], &DataType::Float64).unwrap();
    cast.as_primitive::<Float64Type>().iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}

/// What is known of the transactions `of` a customer or terminal in the `seconds` up to `until`: count and mean.
fn look_back(history: &[(i64, f64)], until: i64, seconds: i64) -> (f64, f64) {
    let in_frame: Vec<f64> =
        history.iter().filter(|(at, _)| *at <= until && *at > until - seconds).map(|(_, value)| *value).collect();
    let count = in_frame.len() as f64;
    (count, if in_frame.is_empty() { 0.0 } else { in_frame.iter().sum::<f64>() / count })
}

#[tokio::test]
async fn the_fraud_features_are_those_of_the_handbook() {
    const DAY: i64 = 86_400;
    let spec = Spec { customers: 60, terminals: 60, days: 45, ..Spec::default() };
    let all = all_days(&Generator::new(spec).unwrap());
    let features = run_sql("card_fraud.sql", "2018-05-13", "2018-05-16", &[("transactions", all.clone())]).await;

    let seconds: Vec<i64> = all["tx_datetime"]
        .as_primitive::<TimestampMicrosecondType>()
        .values()
        .iter()
        .map(|time| time / 1_000_000)
        .collect();
    let [ids, customers, terminals, amounts, is_fraud] =
        ["transaction_id", "customer_id", "terminal_id", "tx_amount", "tx_fraud"].map(|column| numbers(&all, column));
    let mut by_customer: HashMap<u64, Vec<(i64, f64)>> = HashMap::new();
    let mut by_terminal: HashMap<u64, Vec<(i64, f64)>> = HashMap::new();
    for row in 0..all.num_rows() {
        by_customer.entry(customers[row] as u64).or_default().push((seconds[row], amounts[row]));
        by_terminal.entry(terminals[row] as u64).or_default().push((seconds[row], is_fraud[row]));
    }
    let row_of: HashMap<u64, usize> = ids.iter().enumerate().map(|(row, id)| (*id as u64, row)).collect();

    let mut risky = 0;
    let found: HashMap<&str, Vec<f64>> = features
        .schema_ref()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .map(|name| (name, numbers(&features, name)))
        .collect();
    let expected_rows =
        all["tx_date"].as_primitive::<Date32Type>().values().iter().filter(|day| **day >= 17_664).count();
    assert_eq!(features.num_rows(), expected_rows);
    for feature in 0..features.num_rows() {
        let row = row_of[&(found["transaction_id"][feature] as u64)];
        let now = seconds[row];
        for days in [1, 7, 30] {
            let (count, mean) = look_back(&by_customer[&(customers[row] as u64)], now, days * DAY);
            assert_eq!(found[format!("customer_count_{days}d").as_str()][feature], count);
            let error = (found[format!("customer_mean_amount_{days}d").as_str()][feature] - mean).abs() / mean;
            assert!(error < 1e-9, "mean of {days} days: {error}");
            let (count, share) = look_back(&by_terminal[&(terminals[row] as u64)], now - 7 * DAY, days * DAY);
            assert_eq!(found[format!("terminal_count_{days}d").as_str()][feature], count);
            let error = (found[format!("terminal_fraud_share_{days}d").as_str()][feature] - share).abs();
            assert!(error < 1e-12, "share of {days} days: {error}");
            risky += u32::from(share > 0.0);
        }
        let weekday = (now.div_euclid(DAY) + 3).rem_euclid(7);
        assert_eq!(found["weekend"][feature], f64::from(u8::from(weekday >= 5)));
        assert_eq!(found["night"][feature], f64::from(u8::from(now.rem_euclid(DAY) < 7 * 3600)));
        assert_eq!(found["tx_amount"][feature], amounts[row]);
        assert_eq!(found["tx_fraud"][feature], is_fraud[row]);
    }
    assert!(risky > 0, "some terminals had frauds");
}

#[tokio::test]
async fn the_other_statements_have_one_row_a_key_and_the_label() {
    let generator = Generator::new(Spec { customers: 200, terminals: 400, days: 40, ..Spec::default() }).unwrap();
    let all = all_days(&generator);
    let tables = [
        ("transactions", all.clone()),
        ("customers", generator.customers().unwrap()),
        ("terminals", generator.terminals().unwrap()),
    ];
    let spend = run_sql("spend.sql", "2018-05-05", "2018-05-08", &tables).await;
    let days = all["tx_date"].as_primitive::<Date32Type>().values();
    let in_interval: Vec<usize> = (0..all.num_rows()).filter(|row| (17_656..17_659).contains(&days[*row])).collect();
    assert_eq!(spend.num_rows(), in_interval.len(), "each transaction once");
    let unique: BTreeSet<u64> = numbers(&spend, "transaction_id").into_iter().map(|id| id as u64).collect();
    assert_eq!(unique.len(), spend.num_rows());
    assert!(spend["segment"].null_count() > 0 && spend["category"].null_count() > 0);

    let segments = run_sql("segment.sql", "2018-05-05", "2018-05-08", &tables).await;
    let customers = all["customer_id"].as_primitive::<Int32Type>().values();
    let expected: BTreeSet<(i32, i32)> = in_interval.iter().map(|row| (customers[*row], days[*row])).collect();
    let found_customers = segments["customer_id"].as_primitive::<Int32Type>().values();
    let found_days = segments["tx_date"].as_primitive::<Date32Type>().values();
    let found: BTreeSet<(i32, i32)> = found_customers.iter().copied().zip(found_days.iter().copied()).collect();
    assert_eq!(segments.num_rows(), expected.len());
    assert_eq!(found, expected);
    let unlabelled = segments["segment"].null_count();
    assert!(unlabelled > 0 && unlabelled * 5 < segments.num_rows(), "{unlabelled} without a label");

    // What a customer bought in 30 days, counted by hand.
    let purchases = numbers(&segments, "purchases");
    for (row, count) in purchases.iter().enumerate() {
        let (customer, day) = (found_customers[row], found_days[row]);
        let by_hand =
            (0..all.num_rows()).filter(|&row| customers[row] == customer && (day - 29..=day).contains(&days[row]));
        assert_eq!(*count, by_hand.count() as f64, "customer {customer} on day {day}");
    }
}

/// How many transactions of a day the fixtures hold.
const FIXTURE_ROWS: usize = 50;

/// Every file under `fixtures/` that the generator makes, by its name.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let generator = Generator::new(Spec { customers: 40, terminals: 80, days: 2, ..Spec::default() }).unwrap();
    let days: Vec<(NaiveDate, RecordBatch)> =
        generator.days().map(|day| day.unwrap()).map(|(date, batch)| (date, batch.slice(0, FIXTURE_ROWS))).collect();
    let first = &days[0].1;
    let mut files = vec![
        ("transactions.csv".to_owned(), csv(first)),
        ("transactions.jsonl".to_owned(), json_lines(first)),
        ("customers.csv".to_owned(), csv(&generator.customers().unwrap())),
        ("terminals.csv".to_owned(), csv(&generator.terminals().unwrap())),
    ];
    for (date, batch) in &days {
        // The partition's value stands in the folder's name and not in the file.
        let columns: Vec<usize> = (0..batch.num_columns() - 1).collect();
        files.push((
            format!("transactions_hive/tx_date={date}/part-0.parquet"),
            parquet_file(&batch.project(&columns).unwrap()),
        ));
    }
    files
}

fn csv(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::csv::Writer::new(Vec::new());
    writer.write(batch).unwrap();
    writer.into_inner()
}

fn json_lines(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner()
}

fn parquet_file(batch: &RecordBatch) -> Vec<u8> {
    // Without the library's version, which would change the file with every update.
    let properties =
        parquet::file::properties::WriterProperties::builder().set_created_by("lakemill".to_owned()).build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        files.extend(if path.is_dir() { files_below(&path) } else { BTreeSet::from([path]) });
    }
    files
}

#[test]
fn the_fixtures_are_what_the_generator_makes() {
    let folder = root().join("fixtures");
    let made = fixtures();
    if std::env::var("LAKEMILL_BLESS").is_ok_and(|value| value == "1") {
        for (name, bytes) in &made {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
    }
    for (name, bytes) in &made {
        let there = fs::read(folder.join(name)).unwrap_or_default();
        assert!(there == *bytes, "fixtures/{name} differs; LAKEMILL_BLESS=1 rewrites it");
    }
    let mut expected: BTreeSet<PathBuf> = made.iter().map(|(name, _)| folder.join(name)).collect();
    expected.insert(folder.join("README.md"));
    assert_eq!(files_below(&folder), expected, "files that the generator does not make");
}
