//! A model for each segment of the rows, and one for all rows that belong to none of them.
//!
//! The last features of a row, its *routes*, are no features: they name its segment. A row whose routes are those of a
//! model is scored by that model, every other row (a segment never seen or without a model, a missing value) by the
//! fallback; each of them sees the features before the routes. A block is scored segment by segment: its rows are
//! grouped by model, each group is a block of its own, which a forest walks or compiles as any other block (see
//! `forest`), and the scores go back to where their rows were. So the order of rows changes no bit, and neither does
//! how many blocks are scored together, which is what makes thousands of segments fast: four rows of a segment cost as
//! much as eight, since it is its trees that have to come from memory.

use super::Form;
use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use crate::forest::Room;
use rayon::prelude::*;
use std::collections::HashMap;

/// The models of the segments, the fallback, and which row is whose.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmented {
    /// What each model sees of a row.
    features: usize,
    /// For each model, the values of the routes.
    keys: Vec<Vec<f64>>,
    models: Vec<Form>,
    fallback: Box<Form>,
    /// For each route, what stands so far and the bits of its value: what stands then; at the end, the model.
    steps: Vec<HashMap<(u32, u64), u32>>,
    /// For compiled forms of the models.
    room: Room,
}

/// What compiled forms of all models hold together. A form takes about as much again as its forest.
pub const COMPILED_BYTES: usize = 64 << 20;
/// Models that a thread scores before it looks for more.
const MODELS_AT_ONCE: usize = 8;

/// The bits by which a value is known; the two zeros are one.
fn bits(value: f64) -> u64 {
    (value + 0.0).to_bits()
}

impl Segmented {
    /// Models over `features` features, each with the values of its rows' routes; at least one.
    ///
    /// # Errors
    /// `verification`: models that do not see the same features or do not give the same scores, that are segmented
    /// themselves; keys that are not finite, of different lengths, or stand twice.
    pub fn new(features: usize, keys: Vec<Vec<f64>>, models: Vec<Form>, fallback: Form) -> Result<Self> {
        let wrong = |what: &str| Err(Error::verification(format!("the models of segments do not fit: {what}")));
        let routes = keys.first().map_or(0, Vec::len);
        if routes == 0 || keys.len() != models.len() || u32::try_from(models.len()).is_err() {
            return wrong("there is none, or a key is missing");
        }
        if keys.iter().any(|key| key.len() != routes || key.iter().any(|value| !value.is_finite())) {
            return wrong("a key is not finite, or of another length");
        }
        let is_sound = |form: &Form| {
            !matches!(form, Form::Segmented(_)) && form.scores() == fallback.scores() && form.is_sound(features)
        };
        if !is_sound(&fallback) || !models.iter().all(is_sound) {
            return wrong("one sees other features or gives other scores");
        }
        let mut steps: Vec<HashMap<(u32, u64), u32>> = vec![HashMap::new(); routes];
        for (model, key) in (0_u32..).zip(&keys) {
            let mut at = 0;
            for (value, step) in key.iter().zip(&mut steps[..routes - 1]) {
                let next = step.len() as u32;
                at = *step.entry((at, bits(*value))).or_insert(next);
            }
            if steps[routes - 1].insert((at, bits(key[routes - 1])), model).is_some() {
                return wrong("a key stands twice");
            }
        }
        Ok(Self { features, keys, models, fallback: Box::new(fallback), steps, room: Room::of(COMPILED_BYTES) })
    }

    /// How many features each model sees.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many routes stand behind the features.
    pub fn routes(&self) -> usize {
        self.steps.len()
    }

    /// The values of each model's routes.
    pub fn keys(&self) -> &[Vec<f64>] {
        &self.keys
    }

    /// The models of the segments.
    pub fn models(&self) -> &[Form] {
        &self.models
    }

    /// The model of all other rows.
    pub fn fallback(&self) -> &Form {
        &self.fallback
    }

    /// The number of each row's model; that of the fallback is the number of models. A block of another width has
    /// rows of the fallback alone.
    pub fn model_of(&self, block: &FeatureBlock) -> Vec<u32> {
        let fallback = self.models.len() as u32;
        if block.features() != self.features + self.routes() {
            return vec![fallback; block.rows()];
        }
        let mut at = vec![0_u32; block.rows()];
        for (route, step) in self.steps.iter().enumerate() {
            let is_last = route + 1 == self.steps.len();
            // Rows of one segment often stand together.
            let mut known = None;
            for (at, value) in at.iter_mut().zip(block.column(self.features + route)) {
                if *at == u32::MAX {
                    continue;
                }
                let key = (*at, bits(*value));
                *at = match known {
                    Some((same, found)) if same == key => found,
                    _ => {
                        let missing = if is_last { fallback } else { u32::MAX };
                        let found = step.get(&key).copied().unwrap_or(missing);
                        known = Some((key, found));
                        found
                    }
                };
            }
        }
        at.into_iter().map(|model| model.min(fallback)).collect()
    }

    /// The same models with this score alone.
    pub(super) fn only(&self, score: usize) -> Result<Self> {
        let models = self.models.iter().map(|model| model.only(score)).collect::<Result<_>>()?;
        Self::new(self.features, self.keys.clone(), models, self.fallback.only(score)?)
    }

    /// The raw scores of all rows, row-major.
    pub(super) fn score(&self, block: &FeatureBlock) -> Vec<f64> {
        self.score_together(&[block]).pop().unwrap_or_default()
    }

    /// The raw scores of all rows of each block, row-major: as [`score`](Self::score) gives them, but each model sees
    /// its rows of all blocks at once. A thread of a pool shares the models with the others.
    pub(super) fn score_together(&self, blocks: &[&FeatureBlock]) -> Vec<Vec<f64>> {
        let (width, count) = (self.fallback.scores(), self.models.len() + 1);
        let groups: Vec<Groups> = blocks.iter().map(|block| Groups::new(&self.model_of(block), count)).collect();
        let score = |model: usize| {
            let parts = blocks.iter().zip(&groups).map(|(block, groups)| (*block, groups.of(model)));
            let parts: Vec<(&FeatureBlock, &[u32])> = parts.filter(|(_, rows)| !rows.is_empty()).collect();
            if parts.is_empty() {
                return Vec::new();
            }
            let form = self.models.get(model).unwrap_or(&self.fallback);
            form.score_within(&FeatureBlock::gather(self.features, &parts), &self.room)
        };
        let values: Vec<Vec<f64>> = match rayon::current_thread_index() {
            Some(_) if blocks.len() > 1 => (0..count).into_par_iter().with_min_len(MODELS_AT_ONCE).map(score).collect(),
            _ => (0..count).map(score).collect(),
        };
        let mut scores: Vec<Vec<f64>> = blocks.iter().map(|block| vec![0.0; block.rows() * width]).collect();
        for (model, values) in values.iter().enumerate() {
            let mut values = values.chunks_exact(width);
            for (scores, groups) in scores.iter_mut().zip(&groups) {
                for (row, values) in groups.of(model).iter().zip(&mut values) {
                    scores[*row as usize * width..][..width].copy_from_slice(values);
                }
            }
        }
        scores
    }
}

/// The rows of a block group by group, each in their order.
struct Groups {
    rows: Vec<u32>,
    /// Where each group begins, and the end.
    starts: Vec<usize>,
}

impl Groups {
    fn new(group_of: &[u32], groups: usize) -> Self {
        let mut starts = vec![0; groups + 1];
        group_of.iter().for_each(|group| starts[*group as usize + 1] += 1);
        (0..groups).for_each(|group| starts[group + 1] += starts[group]);
        let (mut next, mut rows) = (starts.clone(), vec![0; group_of.len()]);
        for (row, group) in (0_u32..).zip(group_of) {
            let place = &mut next[*group as usize];
            rows[*place] = row;
            *place += 1;
        }
        Self { rows, starts }
    }

    fn of(&self, group: usize) -> &[u32] {
        &self.rows[self.starts[group]..self.starts[group + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Linear, Link, Predictor};
    use crate::task::Task;

    fn slope(slope: f64) -> Form {
        Form::Linear(Linear { coefficients: vec![vec![slope]], intercepts: vec![0.0] })
    }

    fn two() -> Result<Segmented> {
        let keys = vec![vec![0.0, 7.0], vec![0.0, -1.0], vec![2.0, 7.0]];
        Segmented::new(1, keys, vec![slope(10.0), slope(20.0), slope(30.0)], slope(1.0))
    }

    #[test]
    fn each_row_is_scored_by_its_own_model_or_the_fallback() {
        let none = f64::NAN;
        let x: Vec<f64> = (1..=8).map(f64::from).collect();
        let first = [2.0, 0.0, 0.0, 2.0, none, -0.0, 5.0, 0.0];
        let second = [7.0, 7.0, -1.0, -1.0, 7.0, 7.0, 7.0, none];
        let block = FeatureBlock::from_columns(8, &[x, first.to_vec(), second.to_vec()]);
        let segmented = two().unwrap();
        assert_eq!(segmented.model_of(&block), [2, 0, 1, 3, 3, 0, 3, 3]);
        let scores = [30.0, 20.0, 60.0, 4.0, 5.0, 60.0, 7.0, 8.0];
        assert_eq!(segmented.score(&block), scores);
        let predictor = Predictor::new(Task::Regression, 0, 3, Form::Segmented(segmented), Link::Identity).unwrap();
        assert_eq!(predictor.predict(&block), scores);
        assert_eq!(predictor.fell_back(&block), Some(4));
        let (one, none) = (block.take(&[6, 0, 3]), FeatureBlock::zeros(0, 3));
        let together = [scores.to_vec(), vec![], vec![7.0, 30.0, 4.0], scores.to_vec()];
        assert_eq!(predictor.predict_together(&[&block, &none, &one, &block]), together);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert_eq!(pool.install(|| predictor.predict_together(&[&block, &none, &one, &block])), together);
        let other = FeatureBlock::zeros(1, 2);
        assert!(predictor.predict_together(&[&block, &other])[1][0].is_nan());
        assert!(predictor.predict(&FeatureBlock::zeros(2, 2)).iter().all(|score| score.is_nan()));
    }

    #[test]
    fn models_that_do_not_fit_are_refused() {
        let wide = Form::Constant(vec![1.0, 2.0]);
        let two_features = Form::Linear(Linear { coefficients: vec![vec![1.0, 2.0]], intercepts: vec![0.0] });
        let key = || vec![vec![1.0], vec![2.0]];
        let models = |other: Form| vec![slope(1.0), other];
        assert!(Segmented::new(1, key(), models(slope(2.0)), slope(0.0)).is_ok());
        for other in [wide.clone(), two_features, Form::Segmented(two().unwrap())] {
            assert!(Segmented::new(1, key(), models(other), slope(0.0)).is_err());
        }
        assert!(Segmented::new(1, key(), models(slope(2.0)), wide).is_err());
        for keys in [
            vec![vec![1.0]],
            vec![vec![1.0], vec![1.0]],
            vec![vec![0.0], vec![-0.0]],
            vec![vec![1.0], vec![f64::NAN]],
            vec![vec![1.0], vec![2.0, 3.0]],
            vec![vec![], vec![]],
        ] {
            assert!(Segmented::new(1, keys, models(slope(2.0)), slope(0.0)).is_err());
        }
        assert!(Segmented::new(1, Vec::new(), Vec::new(), slope(0.0)).is_err());
    }
}
