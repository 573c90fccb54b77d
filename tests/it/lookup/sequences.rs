//! Any sequence of publications in each mode, rollbacks, collections and attempts that are given up or
//! die: readers have one committed slice, whole, and every generation that is kept is as it was made.
//!
//! Nothing in here knows the store: [`Harness`] says which it is, how a table comes to be, and what an
//! attempt that dies leaves there.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::{sort_to_indices, take_record_batch};
use lakemill::error::ErrorKind;
use lakemill::lookup::{
    Base, Columns, FlipAction, FlipNote, KeyColumns, Load, LookupReader, LookupStore, LookupTable, Mode, Origin,
    Provenance, Sealed, rolled_back,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store under test.
pub struct Harness<'a> {
    pub store: &'static dyn LookupStore,
    pub table: LookupTable,
    /// Leaves in the table what an attempt leaves that dies at some instant; several kinds, by the number.
    pub dies: &'a dyn Fn(&LookupTable, u8),
}

/// Keys and their values.
pub type Slice = BTreeMap<String, i64>;

/// How far an attempt comes that is given up.
#[derive(Debug, Clone, Copy)]
pub enum GivenUp {
    Loading,
    Verified,
    Sealed,
    /// Somebody else has published meanwhile.
    Conflict,
}

#[derive(Debug, Clone)]
pub enum Step {
    Publish {
        mode: Mode,
        slice: Slice,
        keep: usize,
    },
    GiveUp {
        mode: Mode,
        slice: Slice,
        at: GivenUp,
    },
    Die(u8),
    /// To one of the generations that are kept, or to the one before.
    Rollback(Option<usize>),
    Collect {
        keep: usize,
    },
}

pub fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Mode::Replace), Just(Mode::Merge), Just(Mode::Changed)];
    let at =
        prop_oneof![Just(GivenUp::Loading), Just(GivenUp::Verified), Just(GivenUp::Sealed), Just(GivenUp::Conflict)];
    let slice = || prop::collection::btree_map("k[0-9]{1,2}", 0i64..4, 0..25);
    prop_oneof![
        4 => (mode.clone(), slice(), 1usize..5).prop_map(|(mode, slice, keep)| Step::Publish { mode, slice, keep }),
        2 => (mode, slice(), at).prop_map(|(mode, slice, at)| Step::GiveUp { mode, slice, at }),
        1 => any::<u8>().prop_map(Step::Die),
        2 => prop::option::of(0usize..5).prop_map(Step::Rollback),
        1 => (1usize..4).prop_map(|keep| Step::Collect { keep }),
    ]
}

/// What the table has to be.
#[derive(Debug, Default)]
struct Model {
    kept: BTreeMap<u64, Slice>,
    current: Option<u64>,
    flips: Vec<(Option<u64>, u64, FlipAction)>,
}

impl Harness<'_> {
    /// Does one step after the other, and looks after each.
    pub fn follow(&self, steps: &[Step]) {
        let mut model = Model::default();
        for (number, step) in steps.iter().enumerate() {
            self.step(&mut model, number, step);
            self.look(&model, &format!("after step {number} of {steps:?}"));
        }
        // Whatever was left is gone after a collection that keeps one; readers see what they saw.
        self.step(&mut model, steps.len(), &Step::Collect { keep: 1 });
        self.look(&model, "at the end");
        let listed: Vec<u64> = self.numbers();
        assert_eq!(listed, model.kept.keys().copied().collect::<Vec<_>>(), "garbage stays: {steps:?}");
    }

    fn step(&self, model: &mut Model, number: usize, step: &Step) {
        match step {
            Step::Publish { mode, slice, keep } => self.publish(model, number, *mode, slice, *keep),
            Step::GiveUp { mode, slice, at } => self.give_up(model, number, *mode, slice, *at),
            Step::Die(kind) => (self.dies)(&self.table, *kind),
            Step::Rollback(choice) => self.roll_back(model, *choice),
            Step::Collect { keep } => {
                self.store.gc(&self.table, *keep).unwrap();
                model.retire(*keep);
            }
        }
    }

    fn publish(&self, model: &mut Model, number: usize, mode: Mode, slice: &Slice, keep: usize) {
        let contents = model.contents(mode, slice);
        let sealed = self.seal(model.current, &format!("attempt-{number}"), mode, slice);
        let flip = sealed.flip(model.current, keep, &note()).unwrap();
        assert_eq!(flip.from, model.current);
        assert!(Some(flip.generation) > model.current && flip.leftover.is_none());
        model.flips.push((model.current, flip.generation, FlipAction::Publish));
        // What lies between was rolled back from.
        model.kept.retain(|&kept, _| Some(kept) <= model.current);
        model.current = Some(flip.generation);
        model.kept.insert(flip.generation, contents);
        model.retire(keep);
    }

    fn give_up(&self, model: &mut Model, number: usize, mode: Mode, slice: &Slice, at: GivenUp) {
        let attempt = format!("attempt-{number}");
        match at {
            GivenUp::Loading => drop(self.load(model.current, &attempt, mode, slice)),
            GivenUp::Verified => drop(self.load(model.current, &attempt, mode, slice).verify().unwrap()),
            GivenUp::Sealed => self.seal(model.current, &attempt, mode, slice).abandon(),
            GivenUp::Conflict => {
                let late = self.seal(model.current, &attempt, mode, slice);
                let expected = model.current;
                self.publish(model, 1000 + number, Mode::Replace, &Slice::new(), 9);
                let error = late.flip(expected, 9, &note()).expect_err("a flip from a pointer that has moved");
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
            }
        }
    }

    fn roll_back(&self, model: &mut Model, choice: Option<usize>) {
        let Some(current) = model.current else { return };
        let others: Vec<u64> = model.kept.keys().copied().filter(|&kept| kept != current).collect();
        let to = choice.and_then(|choice| others.get(choice).copied());
        let wanted = match choice {
            Some(_) => to,
            None => others.iter().copied().rfind(|&kept| kept < current),
        };
        let Some(wanted) = wanted else {
            let missing = choice.map(|_| 999_999);
            let refused = self.store.rollback(&self.table, missing, current, &note());
            assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Usage));
            return;
        };
        let flip = self.store.rollback(&self.table, to, current, &note()).unwrap();
        assert_eq!((flip.generation, flip.from), (wanted, Some(current)));
        model.flips.push((Some(current), wanted, FlipAction::Rollback));
        model.current = Some(wanted);
    }

    /// Compares everything that can be seen with what has to be.
    fn look(&self, model: &Model, when: &str) {
        assert_eq!(self.store.current(&self.table).unwrap(), model.current, "{when}");
        let reader = self.store.open(&self.table).unwrap();
        assert_eq!(reader.as_ref().map(|reader| reader.metadata().generation), model.current, "{when}");
        let listed = self.numbers();
        for (&generation, slice) in &model.kept {
            assert!(listed.contains(&generation), "{generation} is gone {when}");
            let reader = self.store.open_generation(&self.table, generation).unwrap();
            reader.verify().unwrap();
            assert_eq!(contents(&*reader), *slice, "generation {generation} {when}");
            assert_eq!(reader.metadata().keys, slice.len() as u64, "{when}");
        }
        let flips = self.store.flips(&self.table).unwrap();
        let told: Vec<_> = flips.iter().map(|flip| (flip.from, flip.generation, flip.action)).collect();
        assert_eq!(told, model.flips, "{when}");
        let stands_back = flips.last().is_some_and(|flip| flip.action == FlipAction::Rollback);
        assert!(rolled_back(&flips, "never").is_none(), "{when}");
        assert!(stands_back || flips.iter().all(|flip| rolled_back(&flips, &flip.run_id).is_none()), "{when}");
    }

    fn numbers(&self) -> Vec<u64> {
        self.store.generations(&self.table).unwrap().iter().map(|metadata| metadata.generation).collect()
    }

    fn load(&self, current: Option<u64>, attempt: &str, mode: Mode, slice: &Slice) -> Load {
        let base = match (mode, current) {
            (Mode::Merge, Some(current)) => Base::Merge(current),
            (Mode::Changed, Some(current)) => Base::Changed(current),
            _ => Base::Nothing,
        };
        load(self.store, &self.table, attempt, (mode, base), slice)
    }

    fn seal(&self, current: Option<u64>, attempt: &str, mode: Mode, slice: &Slice) -> Sealed {
        self.load(current, attempt, mode, slice).verify().unwrap().seal("2018-06-21T03:00:00Z").unwrap()
    }
}

/// Loads a slice in batches, in the order that the store wants.
pub fn load(
    store: &'static dyn LookupStore,
    table: &LookupTable,
    attempt: &str,
    (mode, base): (Mode, Base),
    slice: &Slice,
) -> Load {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(slice.keys()));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(slice.values().copied()));
    let rows = RecordBatch::try_from_iter([("key", keys), ("value", values)]).unwrap();
    let partitions = store.partitions(table, slice.len() as u64, &base).unwrap();
    let (key, value) = (["key".to_owned()], ["value".to_owned()]);
    let codes = KeyColumns::new(&key, store.max_key_bytes()).sort_codes(&rows, partitions).unwrap();
    let sorted = take_record_batch(&rows, &sort_to_indices(&codes, None, None).unwrap()).unwrap();
    let provenance = Provenance {
        run_id: attempt.to_owned(),
        job: "fraud".into(),
        interval: "2018-06-20".into(),
        interval_end: "2018-06-21T00:00:00Z".into(),
        model: "fraud".into(),
        model_version: 3,
        keep: "latest".into(),
    };
    let columns = Columns { schema: &sorted.schema(), key: &key, values: &value };
    let origin = Origin { provenance, mode, base, partitions };
    let mut load = Load::begin(store, table, &columns, origin, attempt).unwrap();
    for start in (0..sorted.num_rows()).step_by(1000) {
        load.push(&sorted.slice(start, 1000.min(sorted.num_rows() - start))).unwrap();
    }
    load
}

/// All pairs of a generation, in the order of their keys.
pub fn contents(reader: &dyn LookupReader) -> Slice {
    let mut found = Slice::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(value).unwrap();
        let before = found.insert(String::from_utf8(key.to_vec()).unwrap(), value["value"].as_i64().unwrap());
        assert_eq!(before, None, "a key comes twice");
        Ok(())
    };
    reader.each(&mut visit).unwrap();
    found
}

fn note() -> FlipNote {
    FlipNote { at: "2018-06-21T03:00:00Z".into(), by: "ann".into(), why: "test".into() }
}

impl Model {
    fn contents(&self, mode: Mode, slice: &Slice) -> Slice {
        let mut contents = match (mode, self.current) {
            (Mode::Merge, Some(current)) => self.kept[&current].clone(),
            _ => Slice::new(),
        };
        contents.extend(slice.clone());
        contents
    }

    /// Of the generations up to the current one, the newest stay.
    fn retire(&mut self, keep: usize) {
        let Some(current) = self.current else { return };
        let mut below: Vec<u64> = self.kept.keys().copied().filter(|&kept| kept < current).collect();
        below.truncate((below.len() + 1).saturating_sub(keep));
        below.iter().for_each(|old| drop(self.kept.remove(old)));
    }
}

mod file {
    use super::*;
    use std::fs;

    /// What a loader of the embedded store leaves that is killed: while it loads, after the seal, while the
    /// pointer is replaced, between log and pointer, while an old generation is removed.
    fn dies(table: &LookupTable, kind: u8) {
        let folder = &table.folder;
        fs::create_dir_all(folder).unwrap();
        match kind % 5 {
            0 => {
                let staging = folder.join(format!(".staging-dead-{kind}"));
                fs::create_dir_all(staging.join("base")).unwrap();
                fs::write(staging.join("data.mdb"), "half").unwrap();
                fs::write(staging.join("owner.lock"), "").unwrap();
            }
            1 => sealed_and_dead(table),
            2 => fs::write(folder.join("CURRENT.new"), "v=0000").unwrap(),
            3 => fs::write(folder.join("flips.jsonl.new"), "{\"gener").unwrap(),
            _ => {
                fs::create_dir_all(folder.join(".trash-v=000000")).unwrap();
                fs::write(folder.join(".trash-v=000000/data.mdb"), "half").unwrap();
            }
        }
    }

    fn sealed_and_dead(table: &LookupTable) {
        let kept = super::super::store().generations(table).unwrap();
        let Some(newest) = kept.last() else { return };
        let next = newest.generation.max(super::super::store().current(table).unwrap().unwrap_or(0)) + 1;
        let (from, to) = (format!("v={:06}", newest.generation), table.folder.join(format!("v={next:06}")));
        fs::create_dir(&to).unwrap();
        fs::copy(table.folder.join(&from).join("data.mdb"), to.join("data.mdb")).unwrap();
        let mut metadata = newest.clone();
        metadata.generation = next;
        fs::write(to.join("generation.json"), metadata.to_json().unwrap()).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_sequence_leaves_one_committed_slice(steps in prop::collection::vec(step(), 1..14)) {
            let home = tempfile::TempDir::new().unwrap();
            let harness = Harness { store: super::super::store(), table: super::super::table(&home), dies: &dies };
            harness.follow(&steps);
        }
    }
}
