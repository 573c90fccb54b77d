//! From the SQL's output to numbers: signature, encoder, labels, weights, splits and folds.
//!
//! Everything here is a pure function of Arrow batches (and a seed): no I/O, no clock, and the same
//! result at any number of threads. Rows are numbered through all batches of a query, from 0.
//!
//! # What happens to data that is not plain
//!
//! The encoder is fitted on the training rows alone and lives in the model, so training and scoring
//! follow the same rules. Nothing is silent: what a rule did is counted and stands in the receipt.
//!
//! | value | what is done | counted as |
//! |---|---|---|
//! | null or NaN, numeric | the median of the training rows; `<column>_missing` is 1, where training had any missing | imputed |
//! | null, boolean | as numeric, with false = 0 and true = 1 (0.5 where training is split evenly) | imputed |
//! | plus or minus infinity | the row is rejected, in training and in scoring, also by a dropped column | rejected |
//! | integer beyond 2^53, decimal | the nearest `f64` | |
//! | a category that is no level | all of the column's features are 0 | unseen |
//! | null category | a level of its own (`<column> is null`), where training had one; else all 0 | unseen (in the second case) |
//! | more than `max_categories` levels | the most frequent are kept (ties by name), the others are all 0 | unseen, and a warning |
//! | column without any value in training | dropped | a warning |
//! | column with one value in training | dropped; where it has missing values too, `<column>_missing` alone is kept | a warning |
//! | null label | not known yet: the row is left out of training and evaluation | unlabelled |
//! | label NaN or infinite | the row is rejected | rejected |
//! | label outside its task (2 for binary, a class the model doesn't know) | refused, naming value and row | |
//! | weight that is null, negative or not finite | refused, naming value and row | |
//! | null event time | in no window: dropped from a split by time | undated |
//! | null in a key | a value like any other when rows are split by hash | |
//!
//! Where the algorithm takes missing values and categories natively (gradient boosting), a missing number stays
//! missing (NaN), a null category is missing too, and a category is one feature. What is no level (never seen,
//! or cut by `max_categories`, at most 254) is one further value, counted as unseen. All else is as above.
//!
//! Columns of other types (dates, lists, binary ...) are refused by name when the signature is taken.

mod arrays;
pub mod bins;
mod block;
mod counts;
mod encoder;
mod folds;
mod labels;
mod segments;
mod signature;
mod split;
mod times;
mod weights;

pub use bins::{BinnedBlock, FeatureBins};
pub use block::FeatureBlock;
pub use counts::{ColumnCount, ColumnCounts, Reason, Rejection, Rejections};
pub use encoder::{
    Dropped, Encoded, Encoder, EncoderOptions, Encoding, FittedColumn, Folded, Levels, NATIVE_LEVELS, NativeFit,
    Warning, finite_rows,
};
pub use folds::folds;
pub use labels::{LabelClasses, LabelReader, Labels, ReadLabels};
pub use segments::{NO_SEGMENT, SegmentKey, SegmentReader, SegmentRows, SegmentValue, segment_columns};
pub use signature::{ColumnKind, Signature, SignatureColumn};
pub use split::{Split, hash_bound, key_hashes};
pub use times::EventTimes;
pub use weights::{ClassWeight, row_weights, sample_weights};
