//! The embedded store with its home in a bucket: the same sequences as on a disk, on an object store in
//! memory, and two loaders that have seen the same pointer.

use super::sequences::{Harness, step};
use super::*;
use lakemill::lake::Location;
use object_store::memory::InMemory;
use object_store::path::Path as StorePath;
use tokio::runtime::Runtime;

/// A table in a bucket of its own, with its copy on this machine.
fn table_in_bucket(home: &TempDir) -> LookupTable {
    let (url, path) = ("s3://bucket/home/lookup/fraud".parse().unwrap(), StorePath::from("home/lookup/fraud"));
    let place = Location::with_store(url, Arc::new(InMemory::new()), path);
    LookupTable { remote: Some(place), ..table(home) }
}

/// What a loader leaves in the bucket that is killed: its number, with or without all of the generation.
fn dies(runtime: &Runtime, table: &LookupTable, kind: u8) {
    let place = table.remote.as_ref().unwrap();
    let newest = store().generations(table).unwrap().pop();
    let current = store().current(table).unwrap().unwrap_or(0);
    let next = newest.as_ref().map_or(0, |newest| newest.generation).max(current) + 1 + u64::from(kind % 3);
    let folder = place.join(&format!("v={next:06}"));
    runtime.block_on(async {
        let _ = folder.join("owner").put_if_absent("dead\n".into()).await.unwrap();
        if kind % 2 == 1 {
            let _ = folder.join("data.mdb").put_if_absent("half".into()).await.unwrap();
        }
        if let Some(mut metadata) = newest.filter(|_| kind % 4 == 3) {
            metadata.generation = next;
            let _ = folder.join("generation.json").put_if_absent(metadata.to_json().unwrap().into()).await.unwrap();
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_sequence_leaves_one_committed_slice(steps in prop::collection::vec(step(), 1..10)) {
        let (home, runtime) = (TempDir::new().unwrap(), Runtime::new().unwrap());
        let _entered = runtime.enter();
        let dies = |table: &LookupTable, kind| dies(&runtime, table, kind);
        Harness { store: store(), table: table_in_bucket(&home), dies: &dies }.follow(&steps);
    }
}

#[test]
fn a_loader_publishes_only_if_nobody_has_moved_the_pointer_since() {
    let (home, runtime) = (TempDir::new().unwrap(), Runtime::new().unwrap());
    let _entered = runtime.enter();
    let table = table_in_bucket(&home);
    publish(&table, &[rows(&["a"], 1)]).unwrap();
    let late = seal(&table, "late", &[rows(&["a"], 9)]).unwrap();
    publish(&table, &[rows(&["a"], 2)]).unwrap();
    let back = store().rollback(&table, None, 3, &note("a broken feed")).unwrap();
    assert_eq!((back.generation, back.from), (1, Some(3)));
    // The pointer is where it was when this one took its number, but not the same.
    let error = late.flip(Some(1), 3, &note("late")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert_eq!(reader(&table).get(b"a").unwrap().unwrap(), br#"{"value":1}"#);
    let told: Vec<_> = store().flips(&table).unwrap().iter().map(|flip| (flip.from, flip.generation)).collect();
    assert_eq!(told, [(None, 1), (Some(1), 3), (Some(3), 1)]);
    // Collected from under it, a generation can't be published either.
    let sealed = seal(&table, "sealed", &[rows(&["a"], 8)]).unwrap();
    let number = sealed.metadata().generation;
    let collected = store().gc(&table, 9).unwrap();
    assert_eq!(collected.generations, [number]);
    assert!(collected.bytes > Some(0), "{collected:?}");
    assert_eq!(sealed.flip(Some(1), 3, &note("late")).err().unwrap().kind(), ErrorKind::Conflict);
    assert_eq!(store().flips(&table).unwrap().len(), 3, "a collection is no flip");
    publish(&table, &[rows(&["a"], 3)]).unwrap();
    assert_eq!(reader(&table).get(b"a").unwrap().unwrap(), br#"{"value":3}"#);
}
