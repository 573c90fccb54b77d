//! Newton's method for weighted logistic regression, binary and multinomial.
//!
//! Minimises `sum_i w_i * loss_i + penalty / 2 * |coefficients|^2`, intercepts free, where the loss is
//! the logarithm of the probability of the row's class (Hastie, Tibshirani, Friedman, *The Elements of
//! Statistical Learning*, 4.4.1). Each step solves the normal equations by Cholesky and is halved
//! until the objective falls. All sums run in row order, so threads change no bit.

use super::link::{logistic, softmax};
use rayon::prelude::*;

/// The Newton decrement, relative to the objective, at which a fit has converged.
const CONVERGED: f64 = 1e-11;

/// A weighted logistic regression problem on column-major features.
pub(super) struct Problem<'a> {
    pub rows: usize,
    /// Column-major, `rows x features`.
    pub values: &'a [f64],
    pub features: usize,
    /// The class of each row, below 2 where there is one output, else below `outputs`.
    pub classes: &'a [usize],
    pub weights: &'a [f64],
    /// 1: the log odds of class 1; else one score a class.
    pub outputs: usize,
    pub penalty: f64,
}

/// Parameters: for each output its coefficients, then its intercept.
pub(super) type Parameters = Vec<f64>;

/// Where a point of the parameter space stands.
struct Position {
    objective: f64,
    gradient: Vec<f64>,
    /// Column-major `rows x outputs`: the probability of each output.
    probabilities: Vec<f64>,
}

impl Problem<'_> {
    /// How many numbers are to be found.
    pub fn dimension(&self) -> usize {
        self.outputs * (self.features + 1)
    }

    /// The minimum, from `start`; `None` if it is not reached in `max_iterations` steps.
    pub fn minimise(&self, start: Parameters, max_iterations: usize) -> Option<Parameters> {
        let mut at = start;
        let mut position = self.position(&at);
        for _ in 0..max_iterations {
            let step = solve(self.hessian(&position.probabilities), position.gradient.clone(), self.dimension())?;
            let decrement = dot(&step, &position.gradient);
            if decrement <= CONVERGED * (1.0 + position.objective) {
                // The step is known already, and squares what is left of the error.
                return Some(at.iter().zip(&step).map(|(value, step)| value - step).collect());
            }
            (at, position) = self.descend(&at, &position, &step, decrement)?;
        }
        None
    }

    /// Goes along the step until the objective has fallen enough (Armijo's rule).
    fn descend(&self, at: &[f64], from: &Position, step: &[f64], decrement: f64) -> Option<(Parameters, Position)> {
        let mut length = 1.0;
        for _ in 0..40 {
            let next: Parameters = at.iter().zip(step).map(|(value, step)| value - length * step).collect();
            let position = self.position(&next);
            // Near the minimum the fall is below the rounding of the sum.
            let rounding = 1e-12 * from.objective.abs();
            if position.objective <= from.objective - 1e-4 * length * decrement + rounding {
                return Some((next, position));
            }
            length /= 2.0;
        }
        None
    }

    /// The largest part of the gradient at `at`, over the weight of all rows.
    pub fn slope(&self, at: &[f64]) -> f64 {
        let total: f64 = self.weights.iter().sum();
        self.position(at).gradient.iter().fold(0.0, |largest: f64, part| largest.max(part.abs())) / total
    }

    fn column(&self, feature: usize) -> &[f64] {
        &self.values[feature * self.rows..(feature + 1) * self.rows]
    }

    /// The scores of every row, column-major.
    fn scores(&self, at: &[f64]) -> Vec<f64> {
        let mut scores = vec![0.0; self.rows * self.outputs];
        scores.par_chunks_mut(self.rows).zip(at.par_chunks(self.features + 1)).for_each(|(scores, own)| {
            scores.fill(own[self.features]);
            for (feature, coefficient) in own[..self.features].iter().enumerate() {
                for (score, value) in scores.iter_mut().zip(self.column(feature)) {
                    *score += coefficient * value;
                }
            }
        });
        scores
    }

    fn position(&self, at: &[f64]) -> Position {
        let mut probabilities = self.scores(at);
        let mut objective = self.to_probabilities(&mut probabilities);
        let width = self.features + 1;
        for own in at.chunks(width) {
            objective += self.penalty / 2.0 * dot(&own[..self.features], &own[..self.features]);
        }
        let residuals = self.residuals(&probabilities);
        let gradient = (0..self.dimension())
            .into_par_iter()
            .map(|index| {
                let (output, feature) = (index / width, index % width);
                let residuals = &residuals[output * self.rows..(output + 1) * self.rows];
                if feature == self.features {
                    residuals.iter().sum()
                } else {
                    dot(residuals, self.column(feature)) + self.penalty * at[index]
                }
            })
            .collect();
        Position { objective, gradient, probabilities }
    }

    /// Scores become probabilities; returns the weighted loss.
    fn to_probabilities(&self, scores: &mut [f64]) -> f64 {
        let mut loss = 0.0;
        if self.outputs == 1 {
            for ((score, class), weight) in scores.iter_mut().zip(self.classes).zip(self.weights) {
                let margin = if *class == 1 { *score } else { -*score };
                loss += weight * ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0));
                *score = logistic(*score);
            }
            return loss;
        }
        let mut row = vec![0.0; self.outputs];
        for (index, (class, weight)) in self.classes.iter().zip(self.weights).enumerate() {
            for (output, score) in row.iter_mut().enumerate() {
                *score = scores[output * self.rows + index];
            }
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = row.iter().map(|score| (score - highest).exp()).sum();
            loss += weight * (highest + total.ln() - row[*class]);
            softmax(&mut row);
            for (output, probability) in row.iter().enumerate() {
                scores[output * self.rows + index] = *probability;
            }
        }
        loss
    }

    /// `w * (p - y)`, column-major.
    fn residuals(&self, probabilities: &[f64]) -> Vec<f64> {
        let mut residuals = probabilities.to_vec();
        for (output, column) in residuals.chunks_mut(self.rows).enumerate() {
            let own = if self.outputs == 1 { 1 } else { output };
            for ((residual, class), weight) in column.iter_mut().zip(self.classes).zip(self.weights) {
                *residual = weight * (*residual - f64::from(u8::from(*class == own)));
            }
        }
        residuals
    }

    /// The second derivatives, row-major; only the lower triangle is filled.
    fn hessian(&self, probabilities: &[f64]) -> Vec<f64> {
        let (width, size) = (self.features + 1, self.dimension());
        let mut hessian = vec![0.0; size * size];
        let total: f64 = self.weights.iter().sum();
        for output in 0..self.outputs {
            for other in 0..=output {
                let curvature = self.curvature(probabilities, output, other);
                let start = output * width;
                hessian[start * size..(start + width) * size].par_chunks_mut(size).enumerate().for_each(
                    |(row, out)| {
                        let scaled = self.scaled(&curvature, row);
                        let columns = if other == output { row + 1 } else { width };
                        for column in 0..columns {
                            out[other * width + column] = match column < self.features {
                                true => dot(&scaled, self.column(column)),
                                false => scaled.iter().sum(),
                            };
                        }
                    },
                );
            }
        }
        for index in 0..size {
            // The free intercepts of a multinomial model may all shift together; a trace of curvature
            // there makes the equations solvable and leaves the minimum where it is.
            let free = index % width == self.features;
            hessian[index * size + index] += if free { 1e-10 * total } else { self.penalty };
        }
        hessian
    }

    /// `w * p_k * (1 - p_k)` or `-w * p_k * p_l`.
    fn curvature(&self, probabilities: &[f64], output: usize, other: usize) -> Vec<f64> {
        let own = &probabilities[output * self.rows..(output + 1) * self.rows];
        let cross = &probabilities[other * self.rows..(other + 1) * self.rows];
        let same = f64::from(u8::from(output == other));
        own.iter().zip(cross).zip(self.weights).map(|((own, cross), weight)| weight * own * (same - cross)).collect()
    }

    fn scaled(&self, curvature: &[f64], feature: usize) -> Vec<f64> {
        if feature == self.features {
            return curvature.to_vec();
        }
        curvature.iter().zip(self.column(feature)).map(|(curvature, value)| curvature * value).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The solution of a symmetric positive definite system (row-major, lower triangle), in place.
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>, size: usize) -> Option<Vec<f64>> {
    for row in 0..size {
        let (above, rest) = matrix.split_at_mut(row * size);
        let own = &mut rest[..size];
        for column in 0..row {
            let factor = &above[column * size..(column + 1) * size];
            own[column] = (own[column] - dot(&own[..column], &factor[..column])) / factor[column];
        }
        let pivot = own[row] - dot(&own[..row], &own[..row]);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        own[row] = pivot.sqrt();
        right[row] = (right[row] - dot(&own[..row], &right[..row])) / own[row];
    }
    for row in (0..size).rev() {
        let below: f64 = (row + 1..size).map(|index| matrix[index * size + row] * right[index]).sum();
        right[row] = (right[row] - below) / matrix[row * size + row];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cholesky_solves_a_known_system() {
        let solution = solve(vec![4.0, 0.0, 2.0, 3.0], vec![8.0, 7.0], 2).unwrap();
        assert!((solution[0] - 1.25).abs() < 1e-15 && (solution[1] - 1.5).abs() < 1e-15);
        assert!(solve(vec![1.0, 0.0, 2.0, 1.0], vec![1.0, 1.0], 2).is_none(), "not positive definite");
    }

    #[test]
    fn an_intercept_alone_is_the_log_odds_of_the_weights() {
        let problem = Problem {
            rows: 3,
            values: &[],
            features: 0,
            classes: &[1, 0, 0],
            weights: &[3.0, 1.0, 1.0],
            outputs: 1,
            penalty: 1.0,
        };
        let at = problem.minimise(vec![0.0], 50).unwrap();
        assert!((at[0] - 1.5_f64.ln()).abs() < 1e-9, "{at:?}");
    }
}
