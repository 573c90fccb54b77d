//! The forest scorer, the weighted sums of linear models and their tests as a program of their own, which the compiler
//! alone builds for another target: no dependency is needed. `super::arm` builds and runs it.
//!
//! What the modules take from the rest of the crate stands here: the error without its places and hints.

#![allow(dead_code, missing_docs)]

extern crate self as lakemill;

pub mod error {
    #[derive(Debug)]
    pub struct Error(pub String);

    pub type Result<T> = std::result::Result<T, Error>;

    impl Error {
        pub fn verification(message: impl Into<String>) -> Self {
            Self(message.into())
        }

        pub fn with(self, _name: &str, _place: impl ToString) -> Self {
            self
        }
    }
}

pub mod features {
    pub use crate::block::FeatureBlock;
}

/// As in `models::predictor`.
pub struct Linear {
    pub coefficients: Vec<Vec<f64>>,
    pub intercepts: Vec<f64>,
}

#[path = "../../../../src/features/block.rs"]
mod block;
#[path = "../../../../src/forest/mod.rs"]
pub mod forest;
#[path = "../../../../src/models/weighted.rs"]
mod weighted;

#[path = "../drawn.rs"]
mod drawn;
#[path = "../paths.rs"]
mod paths;

use drawn::{Random, Shape, check, forest, rows};
use forest::Instructions;

#[test]
fn neon_is_what_runs_here() {
    assert_eq!(Instructions::available(), [Instructions::Neon, Instructions::Portable]);
}

#[test]
fn forests_of_many_shapes_equal_the_one_row_walker() {
    let leaves = [1, 2, 31, 64, 65, 128, 129, 256, 257, 500];
    for seed in 0..60 {
        let of = |list: &[usize], stride: u64| list[(seed / stride) as usize % list.len()];
        let shape = Shape {
            features: of(&[1, 3, 5], 2),
            outputs: of(&[1, 2, 4], 5),
            trees: of(&[1, 5], 3),
            leaves: of(&leaves, 1),
            chain: of(&[0, 1], 7) == 1,
            vectors: [None, Some(false), Some(true)][of(&[0, 1, 2], 1)],
            thresholds: of(&[1, 20, 200, 3000], 2),
            plain: of(&[0, 1], 4) == 1,
            ..paths::SHAPE
        };
        let mut random = Random(seed);
        let forest = forest(&mut random, &shape);
        check(&forest, &rows(&mut random, &forest, of(&[1, 40, 64, 130, 190], 1)));
    }
}
