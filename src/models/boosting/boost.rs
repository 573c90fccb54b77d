//! Rounds of boosting: derivatives, a tree for each output, new scores, the loss of the watched rows.

use super::grow::{FEW, Growth, KEPT_BYTES, Space, space_bytes};
use super::grown::{Grown, GrownLeaf};
use super::histogram::{Scale, Sum};
use super::loss::{Loss, Scores, quantile};
use super::params::BoostingParams;
use super::{sample, trees};
use crate::error::{Error, Result};
use crate::forest::Tree;
use crate::models::BinnedSet;
use rayon::prelude::*;

/// Rows of one task. Sums of floating point are taken stretch by stretch, so it decides their last bits.
const STRETCH: usize = 1 << 14;
/// With fewer rows the trees of a round are grown side by side, each with derivatives of its own in memory.
const FEW_ROWS: usize = 1 << 16;
/// What those derivatives, and the spaces that trees leave behind, take together, at most, in bytes.
const SIDE_BY_SIDE_BYTES: usize = 64 << 20;

/// What was learned.
pub(super) struct Boosted {
    /// Where the scores begin, one number an output.
    pub base: Vec<f64>,
    /// The trees, round after round.
    pub trees: Vec<Tree>,
    /// For each feature, by how much its splits lowered the loss.
    pub gains: Vec<f64>,
}

/// The derivatives of one output in one round, and what its tree is grown in.
type Buffer = (Vec<Sum>, Space);

/// The tree of one output in one round.
struct Own {
    output: usize,
    grown: Grown,
}

/// All that a round reads.
struct Boosting<'a> {
    set: &'a BinnedSet<'a>,
    params: &'a BoostingParams,
    loss: Loss,
    seed: u64,
    growth: Growth<'a>,
    /// 0 for rows that are not learned from.
    weights: Vec<f64>,
    learned: Vec<u32>,
    watched: Vec<u32>,
}

/// The best round so far.
struct Watch {
    loss: f64,
    round: usize,
}

/// Boosts trees by `params` on the rows of `set` that are not only watched.
pub(super) fn boost(
    set: &BinnedSet<'_>,
    params: &BoostingParams,
    loss: Loss,
    directions: &[i8],
    seed: u64,
) -> Result<Boosted> {
    if set.rows() >= 1 << 31 {
        return Err(Error::usage("too many rows to boost").with("rows", set.rows()).with("limit", (1_u64 << 31) - 1));
    }
    let rules = params.rules();
    let together = side_by_side(set.rows(), set.bins.features(), set.task.outputs(set.classes));
    let growth = Growth {
        bins: set.bins,
        rules: &rules,
        leaves: params.leaves,
        max_depth: params.max_depth,
        kept_bytes: KEPT_BYTES / together,
        few: FEW,
        directions,
    };
    let is_watched = |row: usize| set.validation.is_some_and(|watched| watched[row]);
    let weight = |row: usize| set.weights.map_or(1.0, |weights| weights[row]);
    let weights: Vec<f64> = (0..set.rows()).map(|row| if is_watched(row) { 0.0 } else { weight(row) }).collect();
    let learned = (0..set.rows() as u32).filter(|row| weights[*row as usize] > 0.0).collect();
    let watched = (0..set.rows() as u32).filter(|row| is_watched(*row as usize) && weight(*row as usize) > 0.0);
    let boosting = Boosting { set, params, loss, seed, growth, weights, learned, watched: watched.collect() };
    boosting.run()
}

/// How many trees of a round are grown side by side; changes no bit of them.
fn side_by_side(rows: usize, features: usize, outputs: usize) -> usize {
    if rows >= FEW_ROWS {
        return 1;
    }
    (SIDE_BY_SIDE_BYTES / bytes_of_output(rows, features)).clamp(1, outputs.max(1))
}

/// What the tree of an output holds from round to round.
fn bytes_of_output(rows: usize, features: usize) -> usize {
    (rows * size_of::<Sum>()).saturating_add(space_bytes(rows, features)).max(1)
}

/// Does something to each stretch. One alone is not worth the way to other threads.
fn each_stretch<T: Send, R: Send>(all: &mut [T], each: impl Fn((usize, &mut [T])) -> R + Send + Sync) -> Vec<R> {
    if all.len() <= STRETCH {
        return vec![each((0, all))];
    }
    all.par_chunks_mut(STRETCH).enumerate().map(each).collect()
}

impl Boosting<'_> {
    fn run(&self) -> Result<Boosted> {
        let base = self.loss.base(self.set.labels, &self.weights);
        if base.iter().any(|score| !score.is_finite()) {
            return Err(Error::check("the labels have no finite mean on the scale of the loss"));
        }
        let mut scores: Scores = base.iter().map(|score| vec![*score; self.set.rows()]).collect();
        let mut trees: Vec<(usize, Tree)> = Vec::new();
        let mut gains = Vec::new();
        let mut best = (!self.watched.is_empty()).then(|| Watch { loss: self.watched_loss(&scores), round: 0 });
        let mut buffers = Vec::new();
        for round in 0..self.params.trees {
            let grown = self.round(round, &scores, &mut buffers)?;
            let sampled = self.params.subsample < 1.0 || self.params.colsample < 1.0;
            if grown.is_empty() && !sampled {
                break;
            }
            for own in &grown {
                self.advance(&mut scores[own.output], &own.grown);
                gains.extend(own.grown.nodes.iter().map(|node| (round, node.feature, node.gain)));
                trees.push((round, trees::to_tree(&own.grown, self.set.bins, own.output as u32)));
            }
            if let Some(best) = &mut best {
                let loss = self.watched_loss(&scores);
                if loss < best.loss {
                    *best = Watch { loss, round: round + 1 };
                } else if round + 1 - best.round >= self.params.early_stopping_rounds {
                    break;
                }
            }
        }
        let rounds = best.map_or(self.params.trees, |best| best.round);
        let mut by_feature = vec![0.0; self.set.bins.features()];
        for (_, feature, gain) in gains.into_iter().filter(|(round, _, _)| *round < rounds) {
            by_feature[feature as usize] += gain;
        }
        let trees = trees.into_iter().filter(|(round, _)| *round < rounds).map(|(_, tree)| tree).collect();
        Ok(Boosted { base, trees, gains: by_feature })
    }

    fn watched_loss(&self, scores: &Scores) -> f64 {
        let weight = |row: usize| self.set.weights.map_or(1.0, |weights| weights[row]);
        self.loss.mean(&self.watched, self.set.labels, weight, scores)
    }

    /// The trees of one round that have a split, with leaves that are steps of the learning rate.
    fn round(&self, round: usize, scores: &Scores, buffers: &mut Vec<Buffer>) -> Result<Vec<Own>> {
        let norms = self.loss.norms(scores);
        let rows = sample::rows(self.seed, round, &self.learned, self.params.subsample);
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let side_by_side = side_by_side(self.set.rows(), self.set.bins.features(), scores.len());
        buffers.resize_with(side_by_side, || (vec![[0; 2]; self.set.rows()], Space::default()));
        let mut all = Vec::with_capacity(scores.len());
        for first in (0..scores.len()).step_by(side_by_side) {
            let outputs = first..scores.len().min(first + side_by_side);
            let each = |(output, (sums, space)): (usize, &mut Buffer)| {
                let scale = self.derive(output, &scores[output], &norms, sums)?;
                let tree = round * scores.len() + output;
                let features = sample::features(self.seed, tree, self.set.bins.features(), self.params.colsample);
                let mut grown = self.growth.grow(sums, scale, rows.clone(), &features, space);
                self.finish(&mut grown, &scores[output]);
                Ok(Own { output, grown })
            };
            let some: Vec<Own> =
                outputs.into_par_iter().zip(buffers.par_iter_mut()).map(each).collect::<Result<_>>()?;
            all.extend(some.into_iter().filter(|own| !own.grown.nodes.is_empty()));
        }
        Ok(all)
    }

    /// The derivatives of one output by its scores, in fixed point.
    fn derive(&self, output: usize, scores: &[f64], norms: &[f64], into: &mut [Sum]) -> Result<Scale> {
        let sums = |(index, into): (usize, &mut [Sum])| {
            let (mut gradients, mut hessians) = (0.0, 0.0);
            for (row, to) in (index * STRETCH..).zip(into) {
                let norm = norms.get(row).copied().unwrap_or(0.0);
                let (gradient, hessian) = self.loss.derivatives(output, self.set.labels[row], scores[row], norm);
                let (gradient, hessian) = (self.weights[row] * gradient, self.weights[row] * hessian);
                gradients += gradient.abs();
                hessians += hessian;
                // Bits of a number, until the scale is known.
                *to = [gradient.to_bits() as i64, hessian.to_bits() as i64];
            }
            (gradients, hessians)
        };
        let parts = each_stretch(into, sums);
        let (gradients, hessians) = parts.into_iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        if !gradients.is_finite() || !hessians.is_finite() {
            return Err(Error::failed("the derivatives of the loss are not finite")
                .hint("scale the label down, or lower learning_rate"));
        }
        let scale = Scale::new(gradients, hessians, self.set.rows());
        each_stretch(into, |(index, into)| {
            for (row, to) in (index * STRETCH..).zip(into) {
                *to = scale.pack(row, f64::from_bits(to[0] as u64), f64::from_bits(to[1] as u64));
            }
        });
        Ok(scale)
    }

    /// Gives leaves the quantile of their residuals, where the loss wants that, and applies the learning rate.
    fn finish(&self, grown: &mut Grown, scores: &[f64]) {
        let (rows, renewed) = (&grown.rows, self.loss.renewed());
        // The leaves of few rows are not worth another thread.
        let together = if rows.len() < FEW_ROWS { grown.leaves.len() } else { 1 };
        grown.leaves.par_iter_mut().with_min_len(together).for_each(|leaf| {
            if let Some(alpha) = renewed {
                let own = rows[leaf.rows.clone()].iter().map(|row| *row as usize);
                let residuals = own.map(|row| (self.set.labels[row] - scores[row], self.weights[row]));
                leaf.output = quantile(residuals.collect(), alpha);
            }
            leaf.output *= self.params.learning_rate;
        });
    }

    /// Adds a tree to the scores of an output: by its own lists of rows, and for all others by walking it.
    fn advance(&self, scores: &mut [f64], grown: &Grown) {
        each_stretch(scores, |(index, scores)| {
            let start = (index * STRETCH) as u32;
            for GrownLeaf { output, rows } in &grown.leaves {
                let rows = &grown.rows[rows.clone()];
                let first = rows.partition_point(|row| *row < start);
                let behind = start + scores.len() as u32;
                for row in rows[first..].iter().take_while(|row| **row < behind) {
                    scores[(*row - start) as usize] += output;
                }
            }
        });
        let others = self.others(grown);
        if others.is_empty() {
            return;
        }
        let steps: Vec<f64> = others
            .par_iter()
            .with_min_len(1 << 10)
            .map(|row| grown.leaves[grown.leaf_of(|feature| self.set.bins.column(feature)[*row as usize])].output)
            .collect();
        for (row, step) in others.iter().zip(steps) {
            scores[*row as usize] += step;
        }
    }

    /// The rows whose scores matter and that the tree was not grown on.
    fn others(&self, grown: &Grown) -> Vec<u32> {
        let mut others = self.watched.clone();
        if grown.rows.len() < self.learned.len() {
            let mut seen = vec![false; self.set.rows()];
            grown.rows.iter().for_each(|row| seen[*row as usize] = true);
            others.extend(self.learned.iter().filter(|row| !seen[**row as usize]));
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_side_by_side_have_room_for_their_derivatives() {
        let some = [(10, 3), (10, 1), (FEW_ROWS, 3), (0, 2)].map(|(rows, outputs)| side_by_side(rows, 4, outputs));
        assert_eq!(some, [3, 1, 1, 2]);
        for (rows, features) in [(FEW_ROWS - 1, 30), (FEW, 100), (1, 1_000_000)] {
            let many = side_by_side(rows, features, 10_000_000);
            assert!(many > 8 && many * bytes_of_output(rows, features) <= SIDE_BY_SIDE_BYTES, "{many}");
            assert!(bytes_of_output(rows, features) > rows * size_of::<Sum>());
        }
    }
}
