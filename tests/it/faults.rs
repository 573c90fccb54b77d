//! An object store whose n-th call fails, for every n of a scoring run: the run ends with an error or
//! as it should, readers never see half of anything, and the same run on a sound store ends in the
//! state of an undisturbed one.

use crate::bad_inputs::place::Place;
use crate::faulty::{Fails, Faulty};
use futures::FutureExt;
use lakemill::engine::predictions::{Predictions, Slice};
use lakemill::engine::progress::Unwatched;
use lakemill::engine::receipt::Status;
use lakemill::engine::run_id::RunMark;
use lakemill::engine::{Engine, Recorded, ScoreOptions, score};
use lakemill::job::{self, AlgorithmWords, MetricWords, Vocabulary};
use lakemill::lake::Location;
use lakemill::lookup::{self, GenerationMetadata, LookupTable};
use lakemill::plan::Plan;
use lakemill::runtime::Runtime;
use lakemill::{metrics, models};
use object_store::local::LocalFileSystem;
use std::sync::Arc;

/// Scores an interval of a place in this process.
struct Scorer {
    engine: Engine,
    interval: &'static str,
    /// An interval that is not to be touched.
    other: &'static str,
    overrides: Vec<String>,
}

/// What a reader sees.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    slice: (Option<RunMark>, u64),
    other: (Option<RunMark>, u64),
    lookup: (String, u64, String),
}

impl Scorer {
    fn new(interval: &'static str, other: &'static str, overrides: &[&str]) -> Self {
        let runtime = Runtime::new(Some(2)).unwrap();
        // The process is that of all tests, whose memory counts too.
        let engine = Engine { runtime, progress: Arc::new(Unwatched), memory_bytes: 1 << 34, by: "tester".to_owned() };
        Self { engine, interval, other, overrides: overrides.iter().map(|set| (*set).to_owned()).collect() }
    }

    async fn plan(&self, place: &Place) -> Plan {
        let algorithms = models::ALGORITHMS.iter().map(|algorithm| AlgorithmWords {
            name: algorithm.name(),
            tasks: algorithm.tasks(),
            takes_weights: algorithm.takes_weights(),
            params: algorithm.params_schema().to_value(),
        });
        let metrics = metrics::METRICS.iter().map(|metric| MetricWords {
            name: metric.name(),
            tasks: metric.tasks(),
            greater_is_better: metric.greater_is_better(),
            range: metric.range(),
        });
        let words = Vocabulary {
            algorithms: algorithms.collect(),
            metrics: metrics.collect(),
            check_params: &|name, params| models::lookup(name)?.check_params(params),
        };
        let job = job::load(&place.path().join("job.toml"), &self.overrides, &|_| None, &words).unwrap();
        Plan::resolve(Arc::new(job), self.interval.parse().unwrap(), chrono::Utc::now()).await.unwrap()
    }

    /// Scores with a store whose call number `at` fails; gives how it ended and how many calls there were.
    fn disturbed(&self, place: &Place, fails: Fails, at: u64) -> (Recorded, u64) {
        let store = Arc::new(Faulty::new(LocalFileSystem::new(), fails, at));
        let recorded = self.engine.runtime.run_recorded(async {
            let mut plan = self.plan(place).await;
            let (url, path) = (plan.home.url().clone(), plan.home.path().clone());
            plan.home = Location::with_store(url, Arc::clone(&store) as _, path);
            // A panic is a failure of the test, whichever call it was.
            let options = ScoreOptions::default();
            let run = score(&self.engine, &plan, &options);
            std::panic::AssertUnwindSafe(run).catch_unwind().await.unwrap()
        });
        (recorded, store.calls())
    }

    fn sound(&self, place: &Place, force: bool) -> Recorded {
        let options = ScoreOptions { force, ..ScoreOptions::default() };
        self.engine.runtime.run_recorded(async { score(&self.engine, &self.plan(place).await, &options).await })
    }

    /// What readers see now; what is visible must be whole.
    fn seen(&self, place: &Place) -> Seen {
        let (slice, other) = self.engine.runtime.run_recorded(async {
            let plan = self.plan(place).await;
            let predictions = Predictions::open(plan.predictions(), &plan.job.spec.name).await.unwrap();
            let slice = predictions.slice(&plan.interval).await.unwrap();
            for path in &slice.paths {
                assert!(predictions.location().join(path).head().await.unwrap().is_some(), "{path} is gone");
            }
            (slice, predictions.slice(&self.other.parse().unwrap()).await.unwrap())
        });
        let told = |slice: Slice| (slice.run, slice.rows);
        let generation = generation(place);
        let lookup = (generation.provenance.run_id, generation.keys, generation.checksum.to_string());
        Seen { slice: told(slice), other: told(other), lookup }
    }
}

fn generation(place: &Place) -> GenerationMetadata {
    let folder = place.path().join("home/lookup/risk");
    let table = LookupTable { folder, ..LookupTable::of_server("risk", "file") };
    let reader = lookup::lookup("file").unwrap().open(&table).unwrap().unwrap();
    reader.verify().unwrap();
    reader.metadata().clone()
}

fn every_call_fails_once(scorer: &Scorer) {
    let undisturbed = Place::new();
    let old = scorer.seen(&undisturbed);
    let (recorded, calls) = scorer.disturbed(&undisturbed, Fails::Before, u64::MAX);
    recorded.result.unwrap();
    let wanted = scorer.seen(&undisturbed);
    assert_ne!(wanted, old);
    assert!(calls >= 15, "{calls}");

    let mut failed = 0;
    for (fails, at) in (1..=calls).flat_map(|at| [(Fails::Before, at), (Fails::After, at)]) {
        let what = format!("{fails:?} call {at} of {calls}");
        let place = Place::new();
        let (recorded, _) = scorer.disturbed(&place, fails, at);
        let seen = scorer.seen(&place);
        assert_eq!(seen.other, old.other, "{what}");
        assert!(seen.slice == old.slice || seen.slice == wanted.slice, "{what}: {seen:?}");
        assert!(seen.lookup == old.lookup || seen.lookup == wanted.lookup, "{what}: {seen:?}");
        // The pointer moves last.
        assert!(seen.slice == wanted.slice || seen.lookup == old.lookup, "{what}: {seen:?}");
        match &recorded.result {
            Ok(()) => assert_eq!(seen, wanted, "{what}"),
            Err(error) => {
                failed += 1;
                assert!(!format!("{error:?}").contains("bug"), "{what}: {error:?}");
            }
        }
        scorer.sound(&place, false).result.unwrap_or_else(|error| panic!("{what}, then: {error:?}"));
        assert_eq!(scorer.seen(&place), wanted, "{what}");
        // The committed bytes are those that the same inputs give.
        let forced = scorer.sound(&place, true);
        forced.result.unwrap_or_else(|error| panic!("{what}, then compared: {error:?}"));
        assert_eq!(forced.receipt.status, Status::Noop, "{what}");
    }
    assert!(failed * 2 > calls, "only {failed} of {calls} calls matter");
}

#[test]
fn a_new_interval_survives_a_failure_of_any_call() {
    every_call_fails_once(&Scorer::new("2018-06-11", "2018-06-10", &[]));
}

#[test]
fn an_interval_that_is_replaced_survives_a_failure_of_any_call() {
    every_call_fails_once(&Scorer::new("2018-06-10", "2018-06-09", &["evaluate.threshold=0.01"]));
}
