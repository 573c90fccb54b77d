//! A model for each segment: which segments get one, how they are fitted, and how good they are beside the fallback.
//!
//! The encoder (and the bins) are those of all training rows, and so is the fallback, which is fitted first. Then the
//! segments with enough rows are fitted side by side, each from its own rows alone and with a seed of its own, so that
//! neither threads nor other segments change a byte of a model.

use super::dataset::predicted;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{Encoder, FeatureBlock, SegmentKey, SegmentReader, SegmentRows, SegmentValue, SignatureColumn};
use crate::job::ModelSpec;
use crate::models::{Form, Learned, Predictor, Segmented, loss_of_row};
use crate::registry::artifact::{RefusedSegment, SegmentLoss, SegmentModels};
use arrow::array::RecordBatch;
use rayon::prelude::*;
use std::ops::Range;

/// So many segments are named: those that were refused, and those that lose most by their own models.
const NAMED: usize = 10;
/// The fewest test rows by which a segment is judged.
const JUDGED_ROWS: u64 = 20;
/// Rows for which a number has one more bin, in the fit of a segment.
const ROWS_A_BIN: usize = 24;
/// The bins that a number may have in any fit.
const FEWEST_BINS: usize = 16;

/// Which rows get models of their own.
#[derive(Debug, Clone)]
pub struct SegmentRule {
    /// The columns whose values name a segment.
    pub columns: Vec<SignatureColumn>,
    /// The fewest training rows of a segment with a model.
    pub min_rows: u64,
}

/// What the rows of a fit are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsOf {
    /// All that there are to learn from.
    Training,
    /// Those that a fold learns from.
    Fold,
}

/// Where the segments' models will be found: fixed before any of them is fitted.
pub struct Routes {
    /// The features of all training rows, and behind them what names a segment.
    pub encoder: Encoder,
    /// The segments with enough rows, by number, ascending.
    candidates: Vec<u32>,
    /// What the encoder gives for each of them.
    keys: Vec<Vec<f64>>,
}

/// What is known of the models of segments beside their predictor.
pub struct Routed {
    /// The model of all other rows, over the features alone.
    fallback: Predictor,
    /// The names of the segments, model by model.
    names: Vec<SegmentKey>,
    summary: SegmentModels,
}

/// The bins that numbers have in the fit of a segment of so many rows: a row is worth less of one the fewer there are,
/// and it is the bins that a small fit takes its time for.
pub fn bins_for(rows: usize) -> usize {
    (rows / ROWS_A_BIN).clamp(FEWEST_BINS, crate::features::bins::MOST_BINS)
}

impl SegmentRule {
    /// The rule of a job.
    ///
    /// # Errors
    /// Usage: a column that the SQL does not give, or that can't name segments.
    pub fn of(model: &ModelSpec, schema: &arrow::datatypes::Schema) -> Result<Option<Self>> {
        let names = model.segment_columns();
        if names.is_empty() {
            return Ok(None);
        }
        let columns = crate::features::segment_columns(schema, names)?;
        Ok(Some(Self { columns, min_rows: model.least_segment_rows() }))
    }

    /// The segments of the given rows (ascending, numbered through all batches).
    ///
    /// # Errors
    /// Check: values that can't name segments.
    pub fn read(&self, batches: &[RecordBatch], rows: &[usize]) -> Result<SegmentRows> {
        let mut reader = SegmentReader::new(self.columns.clone());
        for (batch, local) in super::dataset::chosen_by_batch(batches, rows) {
            reader.add(batch, &local)?;
        }
        Ok(reader.finish())
    }

    /// Whether a segment has enough of these rows.
    pub fn has_candidates(&self, rows: &SegmentRows) -> bool {
        !self.candidates(rows).is_empty()
    }

    fn candidates(&self, rows: &SegmentRows) -> Vec<u32> {
        let (_, starts) = rows.by_segment();
        let sizes = starts.windows(2).map(|pair| pair[1] - pair[0]);
        let large = sizes.enumerate().filter(|(_, size)| *size as u64 >= self.min_rows);
        large.map(|(segment, _)| segment as u32).collect()
    }

    /// The routes of the segments that have enough of these rows.
    ///
    /// # Errors
    /// Check: there is none.
    pub fn routes(&self, rows: &SegmentRows, encoder: &Encoder) -> Result<Routes> {
        let candidates = self.candidates(rows);
        if candidates.is_empty() {
            let (_, starts) = rows.by_segment();
            let sizes = || starts.windows(2).map(|pair| pair[1] - pair[0]);
            return Err(Error::check("no segment has enough training rows for a model of its own")
                .with("segment_min_rows", self.min_rows)
                .with("segments", sizes().len())
                .with("rows of the largest", sizes().max().unwrap_or(0))
                .hint("lower model.segment_min_rows, lengthen model.window, or leave segment_by out"));
        }
        let (encoder, keys) = rows.route(encoder, &candidates)?;
        Ok(Routes { encoder, candidates, keys })
    }
}

impl Routes {
    /// Fits each segment with at least `min_rows` of these rows by `fit`, which is given the rows, their places among
    /// the rows of all segments, and a seed; the others, and those that `fit` refuses, are left to the fallback. Gives
    /// all models as one, which takes what the encoder gives; its gains are those of all of them together.
    ///
    /// # Errors
    /// What `fit` fails with, but for `check` and `failed`; check where no segment gets a model, unless the rows are
    /// those of a fold, which are fewer: there the fallback may be all that is left.
    pub fn fit<F>(
        &self,
        rule: &SegmentRule,
        (rows, of): (&SegmentRows, RowsOf),
        seed: u64,
        fallback: Learned,
        fit: F,
    ) -> Result<Both>
    where
        F: Fn(&[u32], Range<usize>, u64) -> Result<Learned> + Sync,
    {
        let (order, starts) = rows.by_segment();
        let range = |segment: u32| starts[segment as usize]..starts[segment as usize + 1];
        let enough = |index: &usize| range(self.candidates[*index]).len() as u64 >= rule.min_rows;
        let wanted: Vec<usize> = (0..self.candidates.len()).filter(enough).collect();
        let each = |index: &usize| {
            let segment = self.candidates[*index];
            let seed = seed_of(seed, &rows.keys()[segment as usize]);
            match fit(&order[range(segment)], range(segment), seed) {
                Err(error) if matches!(error.kind(), ErrorKind::Check | ErrorKind::Failed) => Ok(Err(error)),
                Err(error) => Err(error.with("segment", name(&rows.keys()[segment as usize]))),
                Ok(learned) if learned.predictor.link() != fallback.predictor.link() => {
                    Ok(Err(Error::failed("the model has another link than that of all rows")))
                }
                Ok(learned) => Ok(Ok(learned)),
            }
        };
        let fitted: Vec<Result<Learned>> = wanted.par_iter().with_max_len(1).map(each).collect::<Result<_>>()?;
        let mut summary = SegmentModels {
            by: rule.columns.iter().map(|column| column.name.clone()).collect(),
            min_rows: rule.min_rows,
            found: starts.windows(2).filter(|pair| pair[0] < pair[1]).count() as u64,
            ..SegmentModels::default()
        };
        summary.small = summary.found - wanted.len() as u64;
        let (mut keys, mut models, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut gains = fallback.gains;
        for (index, fitted) in wanted.into_iter().zip(fitted) {
            let segment = self.candidates[index];
            let (key, own) = (&rows.keys()[segment as usize], range(segment).len() as u64);
            match fitted {
                Ok(learned) => {
                    summary.train_rows += own;
                    add(&mut gains, learned.gains);
                    keys.push(self.keys[index].clone());
                    models.push(learned.predictor.into_form());
                    names.push(key.clone());
                }
                Err(error) => {
                    summary.refused += 1;
                    if summary.refused_first.len() < NAMED {
                        let why = error.message().to_owned();
                        summary.refused_first.push(RefusedSegment { segment: texts(key), rows: own, why });
                    }
                }
            }
        }
        if models.is_empty() && of == RowsOf::Fold {
            // A model has one segment at least: here it says what the fallback says.
            keys.extend(self.keys.first().cloned());
            models.push(fallback.predictor.form().clone());
            names.extend(self.candidates.first().map(|segment| rows.keys()[*segment as usize].clone()));
        }
        summary.models = models.len() as u64;
        summary.fallback_train_rows = rows.of_row().len() as u64 - summary.train_rows;
        if names.is_empty() {
            let why = summary.refused_first.first().map(|refused| refused.why.clone()).unwrap_or_default();
            return Err(Error::check("no segment could be fitted").with("segments", summary.found).with("why", why));
        }
        let fallback = fallback.predictor;
        let (task, classes, width) = (fallback.task(), fallback.classes(), fallback.features());
        let form = Form::Segmented(Segmented::new(width, keys, models, fallback.form().clone())?);
        let predictor = Predictor::new(task, classes, width + rule.columns.len(), form, fallback.link())?;
        Ok((Learned { predictor, gains }, Routed { fallback, names, summary }))
    }
}

/// The models of all segments as one, and what else is known of them.
pub type Both = (Learned, Routed);

/// The losses of one test row: by which model, the model's own, that of the fallback.
pub type RowLoss = (u32, f64, f64);

impl Routed {
    /// The losses of rows with these labels, for which the models together give `outputs`.
    pub fn losses(&self, all: &Predictor, block: &FeatureBlock, labels: &[f64], outputs: &[f64]) -> Vec<RowLoss> {
        let Form::Segmented(segmented) = all.form() else { return Vec::new() };
        let (task, width) = (all.task(), all.outputs());
        let all: Vec<u32> = (0..).take(block.rows()).collect();
        let others = predicted(&block.take_first(segmented.features(), &all), &self.fallback);
        let models = segmented.model_of(block).into_iter().zip(labels);
        let rows = models.zip(outputs.chunks_exact(width).zip(others.chunks_exact(width)));
        rows.map(|((model, label), (own, other))| {
            (model, loss_of_row(task, *label, own), loss_of_row(task, *label, other))
        })
        .collect()
    }

    /// What became of the segments, in the light of the test rows; `losses` has one entry a row, in their order.
    pub fn judged(&self, losses: &[RowLoss]) -> SegmentModels {
        let mut sums = vec![(0_u64, 0.0, 0.0); self.names.len() + 1];
        for (model, own, other) in losses {
            let sum = &mut sums[*model as usize];
            *sum = (sum.0 + 1, sum.1 + own, sum.2 + other);
        }
        let mean = |sum: f64, rows: u64| sum / rows.max(1) as f64;
        let all = losses.iter().fold((0.0, 0.0), |sum, (_, own, other)| (sum.0 + own, sum.1 + other));
        let mut worst: Vec<SegmentLoss> = sums
            .iter()
            .zip(&self.names)
            .filter(|((rows, _, _), _)| *rows >= JUDGED_ROWS)
            .map(|((rows, own, other), key)| SegmentLoss {
                segment: texts(key),
                rows: *rows,
                loss: mean(*own, *rows),
                fallback_loss: mean(*other, *rows),
            })
            .collect();
        let worse = worst.iter().filter(|own| own.loss > own.fallback_loss).count() as u64;
        let judged = worst.len() as u64;
        // Stable: the order of names decides between equals.
        worst.sort_by(|a, b| (b.loss - b.fallback_loss).total_cmp(&(a.loss - a.fallback_loss)));
        worst.truncate(NAMED);
        SegmentModels {
            test_rows: losses.len() as u64,
            fallback_test_rows: sums.last().map_or(0, |sum| sum.0),
            loss: mean(all.0, losses.len() as u64),
            fallback_loss: mean(all.1, losses.len() as u64),
            judged,
            worse,
            worst,
            ..self.summary.clone()
        }
    }
}

fn add(sum: &mut Option<Vec<f64>>, gains: Option<Vec<f64>>) {
    if let (Some(sum), Some(gains)) = (sum, gains) {
        sum.iter_mut().zip(gains).for_each(|(sum, gain)| *sum += gain);
    }
}

fn texts(key: &[SegmentValue]) -> Vec<String> {
    key.iter().map(SegmentValue::to_string).collect()
}

/// A segment's name for people.
fn name(key: &[SegmentValue]) -> String {
    texts(key).join(", ")
}

/// The seed of a segment: a hash of the job's seed and of the values that name it, so that it depends on no other one.
fn seed_of(seed: u64, key: &[SegmentValue]) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    for value in key {
        let kind = match value {
            SegmentValue::Boolean(_) => 0_u8,
            SegmentValue::Integer(_) => 1,
            SegmentValue::Text(_) => 2,
        };
        let text = value.to_string();
        hash.update(&[kind]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_seed_is_its_own() {
        let text = |text: &str| SegmentValue::Text(text.to_owned());
        let seeds = [
            seed_of(7, &[text("1")]),
            seed_of(7, &[SegmentValue::Integer(1)]),
            seed_of(8, &[text("1")]),
            seed_of(7, &[text("1"), text("")]),
            seed_of(7, &[text(""), text("1")]),
        ];
        let different: std::collections::BTreeSet<u64> = seeds.into_iter().collect();
        assert_eq!(different.len(), seeds.len());
        assert_eq!(seeds[0], seed_of(7, &[text("1")]));
    }

    #[test]
    fn bins_grow_with_rows() {
        assert_eq!([1, 100, 500, 2400, 1_000_000].map(bins_for), [16, 16, 20, 100, 255]);
    }
}
