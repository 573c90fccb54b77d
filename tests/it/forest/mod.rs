//! Every path of the forest scorer against the one-row walker, to the bit, on every instruction set
//! that the machine has.

mod arm;
mod drawn;
mod paths;

use drawn::{Random, Shape, check, forest, rows};
use lakemill::forest::{Aggregation, Compiled, Instructions};
use proptest::prelude::*;

fn aggregation() -> impl Strategy<Value = Aggregation> {
    let all = [Aggregation::Average, Aggregation::Sum, Aggregation::Minimum, Aggregation::Maximum];
    prop::sample::select(all.to_vec())
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaves = prop::sample::select(vec![1, 2, 31, 64, 65, 128, 129, 256, 257, 500]);
    let thresholds = prop::sample::select(vec![1, 20, 200, 3000]);
    let vectors = prop::sample::select(vec![None, Some(false), Some(true)]);
    (
        1..5_usize,
        1..4_usize,
        1..6_usize,
        leaves,
        any::<bool>(),
        vectors,
        thresholds,
        any::<bool>(),
        aggregation(),
        any::<u64>(),
    )
        .prop_map(|(features, outputs, trees, leaves, chain, vectors, thresholds, plain, aggregation, seed)| {
            Shape { features, outputs, trees, leaves, chain, vectors, thresholds, plain, aggregation, seed }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_equals_the_one_row_walker(shape in shape(), count in 0..200_usize) {
        let mut random = Random(shape.seed);
        let forest = forest(&mut random, &shape);
        // All of these shapes have a compiled form.
        prop_assert!(Compiled::new(&forest, Instructions::Portable).is_some());
        check(&forest, &rows(&mut random, &forest, count));
    }
}
