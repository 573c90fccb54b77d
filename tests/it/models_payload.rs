//! Predictors as bytes, and the same bytes at any number of threads.

use crate::models::{REFERENCE, fit};
use arrow::array::{ArrayRef, Float64Builder, Int32Array, ListBuilder, RecordBatch, UInt32Builder};
use arrow::ipc::writer::FileWriter;
use lakemill::error::ErrorKind;
use lakemill::features::FeatureBlock;
use lakemill::forest::{
    Aggregation, CategorySet, Comparison, Forest, Missing, Precision, Rule, Side, Tree, TreeBuilder,
};
use lakemill::models::{ALGORITHMS, Form, Linear, Link, Predictor, Segmented};
use lakemill::task::Task;
use proptest::prelude::*;
use serde_json::json;
use std::sync::{Arc, LazyLock};

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

/// Every rule with every missing rule, category sets with far codes, thresholds at infinity.
fn ruled(aggregation: Aggregation) -> Predictor {
    let sides = [Side::Left, Side::Right];
    let missing: Vec<Missing> =
        sides.map(Missing::Nan).into_iter().chain(sides.map(Missing::NanOrZero)).chain([Missing::NanIsZero]).collect();
    let mut trees = Vec::new();
    for missing in missing {
        let mut builder = TreeBuilder::new(1);
        let mut rules = vec![
            Rule::Category { set: builder.set([1, 2, 3]) },
            Rule::Category { set: builder.set([0, 64, 1_000_000, u32::MAX]) },
            Rule::Category { set: builder.set([]) },
            Rule::at_most(f64::INFINITY),
        ];
        for comparison in [Comparison::AtMost, Comparison::Below, Comparison::Equal] {
            for precision in [Precision::F64, Precision::F32] {
                rules.push(Rule::Threshold { value: 0.25 * rules.len() as f64, comparison, precision });
            }
        }
        let mut part = builder.leaf(&[-1.0]);
        for (index, rule) in rules.into_iter().enumerate() {
            let leaf = builder.leaf(&[index as f64]);
            part = builder.branch(index as u32 % 3, rule, missing, leaf, part);
        }
        trees.push(builder.finish(part, Some(0)));
    }
    let forest = Forest::new(3, vec![0.5], aggregation, trees).unwrap();
    Predictor::new(Task::Regression, 0, 3, Form::Forest(forest), Link::Identity).unwrap()
}

/// Segments whose models are forests, one of them a constant; and segments of linear models, by two columns.
fn segmented() -> [Predictor; 3] {
    let Form::Forest(forest) = ruled(Aggregation::Sum).form().clone() else { panic!("not a forest") };
    let few = Forest::new(3, vec![1.0], Aggregation::Average, forest.trees()[..2].to_vec()).unwrap();
    let models = vec![Form::Forest(few), Form::Constant(vec![2.5]), Form::Forest(forest.clone())];
    let keys = vec![vec![0.0], vec![7.0], vec![-1e15]];
    let trees = Segmented::new(3, keys, models, Form::Forest(forest)).unwrap();
    let line =
        |slope: f64| Form::Linear(Linear { coefficients: vec![vec![slope; 3]; 2], intercepts: vec![slope, 0.0] });
    let keys = vec![vec![0.0, 1.0], vec![1.0, 1.0]];
    let lines = Segmented::new(3, keys, vec![line(0.5), line(-0.25)], line(1.0)).unwrap();
    let constants = vec![Form::Constant(vec![0.25]), Form::Constant(vec![0.5])];
    let constants = Segmented::new(0, vec![vec![1.0], vec![2.0]], constants, Form::Constant(vec![3.0])).unwrap();
    [
        Predictor::new(Task::Regression, 0, 4, Form::Segmented(trees), Link::Identity).unwrap(),
        Predictor::new(Task::Multiclass, 2, 5, Form::Segmented(lines), Link::Softmax).unwrap(),
        Predictor::new(Task::Regression, 0, 1, Form::Segmented(constants), Link::Identity).unwrap(),
    ]
}

#[test]
fn models_of_segments_come_back_and_predict_the_same_bits() {
    for predictor in segmented() {
        let bytes = predictor.to_payload().unwrap();
        let back = Predictor::from_payload(&bytes).unwrap();
        assert_eq!(back, predictor);
        assert_eq!(back.to_payload().unwrap(), bytes);
        let column = |feature: usize| (0..700).map(|row| ((row / (feature + 1)) % 4) as f64).collect::<Vec<f64>>();
        let columns: Vec<Vec<f64>> = (0..predictor.features()).map(column).collect();
        let block = FeatureBlock::from_columns(700, &columns);
        assert_eq!(back.predict(&block), predictor.predict(&block));
        assert!(back.fell_back(&block).is_some_and(|rows| 0 < rows && rows < 700));
    }
    // Those without segments are written as before, so that older binaries read them.
    let version = |bytes: &[u8], version: &str| bytes.windows(version.len()).any(|window| window == version.as_bytes());
    assert!(version(&boosted().to_payload().unwrap(), r#"{"version":2,"#));
    assert!(version(&segmented()[0].to_payload().unwrap(), r#"{"version":3,"#));
}

#[test]
fn headers_of_segments_that_lie_are_refused() {
    let bytes = segmented()[0].to_payload().unwrap();
    for (from, to) in [
        (r#""trees":2"#, r#""trees":3"#),
        (r#""trees":2"#, r#""trees":1"#),
        (r#""version":3"#, r#""version":2"#),
        (r#"[7.0]"#, r#"[0.0]"#),
        (r#"{"features":3"#, r#"{"features":2"#),
        (r#"{"constant":[2.5]}"#, r#"{"constant":[   ]}"#),
        (r#"{"constant":[2.5]}"#, r#"{"linear":99999  }"#),
    ] {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("no {from}"));
        let mut wrong = bytes.clone();
        wrong[at..at + from.len()].copy_from_slice(&to.as_bytes()[..from.len()]);
        let error = Predictor::from_payload(&wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Verification, "{from} as {to}: {error}");
    }
}

const AGGREGATIONS: [Aggregation; 4] =
    [Aggregation::Average, Aggregation::Sum, Aggregation::Minimum, Aggregation::Maximum];

#[test]
fn every_rule_and_aggregation_comes_back() {
    for aggregation in AGGREGATIONS {
        let predictor = ruled(aggregation);
        let bytes = predictor.to_payload().unwrap();
        let back = Predictor::from_payload(&bytes).unwrap();
        assert_eq!(back, predictor);
        assert_eq!(back.to_payload().unwrap(), bytes);
        let Form::Forest(forest) = back.form() else { panic!("not a forest") };
        assert_eq!(forest.trees()[0].sets()[1], CategorySet::new([0, 64, 1_000_000, u32::MAX]));
    }
}

/// The layout of version 1, as it was written.
#[test]
fn version_one_is_still_read() {
    let whole = |lists: [&[u32]; 2]| {
        let mut builder = ListBuilder::new(UInt32Builder::new());
        lists.iter().for_each(|list| builder.append_value(list.iter().copied().map(Some)));
        Arc::new(builder.finish()) as ArrayRef
    };
    let floats = |lists: [&[f64]; 2]| {
        let mut builder = ListBuilder::new(Float64Builder::new());
        lists.iter().for_each(|list| builder.append_value(list.iter().copied().map(Some)));
        Arc::new(builder.finish()) as ArrayRef
    };
    let leaf = 1 << 31;
    let columns = [
        ("output", Arc::new(Int32Array::from(vec![0, -1])) as ArrayRef),
        ("feature", whole([&[1, 0], &[0]])),
        ("threshold", floats([&[0.5, -2.0], &[9.0]])),
        ("left", whole([&[1], &[leaf]])),
        ("right", whole([&[leaf + 2, leaf + 1], &[leaf + 1]])),
        ("leaves", floats([&[1.0, 2.0, 4.0], &[10.0, 20.0]])),
    ];
    let write = |columns: &[(&str, ArrayRef)]| {
        let batch = RecordBatch::try_from_iter(columns.to_vec()).unwrap();
        let mut writer = FileWriter::try_new(Vec::new(), batch.schema_ref()).unwrap();
        let header = r#"{"version":1,"task":"regression","classes":0,"features":2,"link":"identity","form":{"sum":{"base":[0.5]}}}"#;
        writer.write_metadata("lakemill", header);
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    let error = Predictor::from_payload(&write(&columns)).unwrap_err();
    assert!(error.to_string().contains("differ in length"), "{error}");
    let mut sound = columns.clone();
    sound[3].1 = whole([&[1, leaf], &[leaf]]);
    let predictor = Predictor::from_payload(&write(&sound)).unwrap();
    let rows = FeatureBlock::from_columns(4, &[[-2.0, -1.0, 10.0, f64::NAN], [0.5, 0.5, 1.0, f64::NAN]]);
    assert_eq!(predictor.predict(&rows), [11.5, 12.5, 24.5, 24.5]);
    let again = predictor.to_payload().unwrap();
    assert_eq!(Predictor::from_payload(&again).unwrap(), predictor);
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
    let (from, to) = (br#"{"version":2,"#, br#"{"version":7,"#);
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
        let mut bytes = which.get(&MUTATED).clone();
        // Half of the changes aim at the lengths and offsets at the end of the file.
        let tail = bytes.len() - bytes.len().min(900);
        for (at, value, late) in changes {
            let start = if late { tail } else { 0 };
            let place = start + at.index(bytes.len() - start);
            bytes[place] = value;
        }
        if let Ok(predictor) = Predictor::from_payload(&bytes) && predictor.features() < 1000 {
            // Enough rows for every path of the scorer.
            for rows in [9, 300] {
                let block = FeatureBlock::zeros(rows, predictor.features());
                prop_assert_eq!(predictor.predict(&block).len(), rows * predictor.outputs());
            }
        }
    }
}

static PAYLOADS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| FITTED.iter().map(|predictor| predictor.to_payload().unwrap()).collect());

/// Forests with rules stand as often as fitted ones.
static MUTATED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let ruled = AGGREGATIONS.map(|aggregation| ruled(aggregation).to_payload().unwrap());
    let segmented = segmented().map(|predictor| predictor.to_payload().unwrap());
    let made = ruled.iter().chain(&segmented).cycle();
    PAYLOADS.iter().zip(made).flat_map(|(fitted, made)| [fitted.clone(), made.clone()]).collect()
});

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
