//! All SQL that is shipped, in both engines: the same, or refused by name.

use super::{both, is_refusal};
use crate::command::root;
use crate::shared::shared;
use lakemill::demo::{Generator, Spec, write_lake};
use lakemill::interval::Interval;
use lakemill::lake::Location;
use lakemill::query::{Parameters, Session, SessionOptions};
use lakemill::tables::{self, TableRequest};
use std::collections::BTreeSet;
use std::path::Path;

/// The files under `sql/` that Polars runs, and those that it refuses.
const RUN: [&str; 4] = ["card_fraud_declared", "flight_delay", "flight_delay_minutes", "terminal_fraud"];
const REFUSED: [&str; 3] = ["card_fraud", "segment", "spend"];

async fn session(lake: &Path, names: &[&str]) -> Session {
    let mut session = Session::new(SessionOptions::features(512 << 20)).unwrap();
    for name in names {
        let location = Location::parse(lake.join(name).to_str().unwrap(), Path::new("/")).unwrap();
        session.register(&tables::pin(&TableRequest::latest(*name, location)).await.unwrap()).await.unwrap();
    }
    session
}

async fn compared(session: &Session, name: &str, interval: &str) {
    let text = std::fs::read_to_string(root().join(format!("sql/{name}.sql"))).unwrap();
    let interval: Interval = interval.parse().unwrap();
    let found = both(session, &text, &Parameters::of_interval(&interval)).await.unwrap();
    if REFUSED.contains(&name) {
        let refused = found.polars.as_ref().unwrap_err();
        assert!(is_refusal(refused) && refused.message().contains("RANGE frames"), "{name}: {refused:?}");
        assert!(refused.context().iter().any(|(key, place)| *key == "at" && place.contains(".sql:")), "{refused:?}");
        return;
    }
    let rows: usize = found.datafusion.as_ref().unwrap().iter().map(|batch| batch.num_rows()).sum();
    assert!(rows > 50, "{name}: {rows} rows");
    if let Some(told) = found.difference() {
        panic!("{name}: {told}");
    }
}

#[test]
fn no_shipped_sql_is_forgotten() {
    let named: BTreeSet<String> = RUN.iter().chain(&REFUSED).map(|name| (*name).to_owned()).collect();
    let there = std::fs::read_dir(root().join("sql")).unwrap();
    let there = there.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    assert_eq!(there.collect::<BTreeSet<_>>(), named);
}

#[tokio::test]
async fn the_sql_of_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let start = chrono::NaiveDate::from_ymd_opt(2018, 6, 1).unwrap();
    let spec = Spec { customers: 60, terminals: 120, start, days: 12, seed: 7 };
    write_lake(&Generator::new(spec).unwrap(), folder.path(), &mut |_, _| ()).await.unwrap();
    let session = session(folder.path(), &["transactions", "customers", "terminals", "inspections"]).await;
    for name in ["card_fraud", "card_fraud_declared", "segment", "spend", "terminal_fraud"] {
        compared(&session, name, "2018-06-08/2018-06-12").await;
    }
}

#[tokio::test]
async fn the_sql_of_the_flights() {
    let Some(lake) = shared("lake") else { return };
    let session = session(&lake, &["flights", "weather", "planes", "airlines"]).await;
    for name in ["flight_delay", "flight_delay_minutes"] {
        compared(&session, name, "2013-03-10").await;
    }
}
