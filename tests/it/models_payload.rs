//! Predictors as bytes, and the same bytes at any number of threads.

use crate::models::{REFERENCE, fit};
use lakemill::error::ErrorKind;
use lakemill::features::FeatureBlock;
use lakemill::forest::{Aggregation, Forest, Tree, TreeBuilder};
use lakemill::models::{ALGORITHMS, Form, Link, Predictor};
use lakemill::task::Task;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

/// One fitted predictor of each algorithm and task.
static FITTED: LazyLock<Vec<Predictor>> = LazyLock::new(fit_all);

fn fit_all() -> Vec<Predictor> {
    let weights = REFERENCE.train.weights.as_slice();
    let cases =
        ALGORITHMS.iter().flat_map(|algorithm| algorithm.tasks().iter().map(move |task| (algorithm.name(), *task)));
    cases
        .flat_map(|(name, task)| {
            let settings =
                if name.contains("_forest") || name.contains("_trees") { json!({"trees": 6}) } else { json!({}) };
            [None, Some(weights)].map(|weights| fit(name, task, settings.clone(), weights, 3))
        })
        .collect()
}

fn boosted() -> Predictor {
    let tree = |output: Option<u32>, width: usize| -> Tree {
        let mut builder = TreeBuilder::new(width);
        let left = builder.leaf(&vec![0.25; width]);
        let right = builder.leaf(&vec![-1.5; width]);
        let root = builder.split(2, 0.1, left, right);
        builder.finish(root, output)
    };
    let trees = vec![tree(Some(0), 1), tree(None, 2), tree(Some(1), 1)];
    let forest = Forest::new(3, vec![0.1, 0.2], Aggregation::Sum, trees).unwrap();
    Predictor::new(Task::Multiclass, 2, 3, Form::Forest(forest), Link::Softmax).unwrap()
}

#[test]
fn payloads_come_back_equal_and_predict_the_same_bits() {
    let block = REFERENCE.test.block();
    for predictor in FITTED.iter().chain([&boosted()]) {
        let bytes = predictor.to_payload().unwrap();
        let back = Predictor::from_payload(&bytes).unwrap();
        assert_eq!(&back, predictor);
        assert_eq!(back.to_payload().unwrap(), bytes);
        let bits = |predictor: &Predictor| predictor.predict(&block).into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(predictor));
    }
}

#[test]
fn a_payload_is_an_arrow_file() {
    for predictor in FITTED.iter() {
        let bytes = predictor.to_payload().unwrap();
        let reader = arrow::ipc::reader::FileReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
        let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
        assert_eq!(batches.len(), 1);
        let rows = match predictor.form() {
            Form::Forest(forest) => forest.trees().len(),
            _ => predictor.outputs(),
        };
        assert_eq!(batches[0].num_rows(), rows);
    }
}

#[test]
fn truncated_and_foreign_bytes_are_refused() {
    let bytes = FITTED[0].to_payload().unwrap();
    for length in 0..bytes.len() {
        let error = Predictor::from_payload(&bytes[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Verification, "{length} bytes");
    }
    let foreign: [&[u8]; 4] = [b"", b"ARROW1", b"PAR1 and so on PAR1", b"ARROW1\0\0\xff\xff\xff\x7fARROW1"];
    for bytes in foreign {
        assert_eq!(Predictor::from_payload(bytes).unwrap_err().kind(), ErrorKind::Verification);
    }
}

#[test]
fn an_unknown_version_says_so() {
    let bytes = FITTED[0].to_payload().unwrap();
    let (from, to) = (br#"{"version":1,"#, br#"{"version":7,"#);
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    let mut newer = bytes.clone();
    newer[at..at + to.len()].copy_from_slice(to);
    let error = Predictor::from_payload(&newer).unwrap_err();
    assert!(error.to_string().contains("version = 7"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes, there is an answer; and what is accepted can be used without a panic.
    #[test]
    fn mutated_payloads_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
    ) {
        let mut bytes = which.get(&PAYLOADS).clone();
        // Half of the changes aim at the lengths and offsets at the end of the file.
        let tail = bytes.len() - bytes.len().min(900);
        for (at, value, late) in changes {
            let start = if late { tail } else { 0 };
            let place = start + at.index(bytes.len() - start);
            bytes[place] = value;
        }
        if let Ok(predictor) = Predictor::from_payload(&bytes) && predictor.features() < 1000 {
            let block = FeatureBlock::zeros(9, predictor.features());
            prop_assert_eq!(predictor.predict(&block).len(), 9 * predictor.outputs());
        }
    }
}

static PAYLOADS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| FITTED.iter().map(|predictor| predictor.to_payload().unwrap()).collect());

#[test]
fn one_two_and_seven_threads_fit_the_same_bytes() {
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let payloads: Vec<Vec<u8>> = pool.install(|| fit_all().iter().map(|own| own.to_payload().unwrap()).collect());
        assert!(payloads == *PAYLOADS, "{threads} threads");
    }
}

#[test]
fn another_seed_grows_other_forests_and_nothing_else() {
    for algorithm in ALGORITHMS {
        let task = algorithm.tasks()[0];
        let with = |seed: u64| fit(algorithm.name(), task, json!({}), None, seed);
        let random = ["random_forest", "extra_trees"].contains(&algorithm.name());
        assert_eq!(with(1) != with(2), random, "{}", algorithm.name());
    }
}

#[test]
fn predictions_do_not_depend_on_the_block() {
    let block = REFERENCE.test.block();
    for predictor in FITTED.iter() {
        let whole = predictor.predict(&block);
        let mut parts = Vec::new();
        let mut start = 0;
        for length in [1, 7, 8, 9, 100, 375] {
            let rows: Vec<usize> = (start..start + length).collect();
            parts.extend(predictor.predict(&block.take(&rows)));
            start += length;
        }
        assert_eq!(start, block.rows());
        assert_eq!(parts, whole);
    }
}

#[test]
fn the_block_scorer_equals_the_one_row_walker() {
    let small = REFERENCE.test.block();
    // Longer than one stretch of the scorer.
    let rows: Vec<usize> = (0..2500).map(|row| row * 7 % small.rows()).collect();
    let block = small.take(&rows);
    let mut forests = 0;
    for predictor in FITTED.iter() {
        let Form::Forest(forest) = predictor.form() else { continue };
        forests += 1;
        let scores = forest.score(&block);
        for row in 0..block.rows() {
            let values: Vec<f64> = (0..block.features()).map(|feature| block.value(row, feature)).collect();
            let own = &scores[row * forest.outputs()..(row + 1) * forest.outputs()];
            assert_eq!(own, forest.score_row(&values));
        }
    }
    assert!(forests >= 10);
}
