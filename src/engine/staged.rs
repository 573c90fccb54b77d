//! The one pass over a features query of a training that streams: each batch is split, its labels and weights
//! are read, the encoder and the bins learn from its training rows, and the feature columns are put aside for the
//! passes that follow. What stays in memory for each row is a label, and a day and a weight where they are needed.

use super::binned::StreamLimit;
use super::dataset::{DataCounts, Observed, only_columns, take_rows};
use super::fit::{Recipe, no_test_label};
use super::moments::Moments;
use super::spool::{Spool, Spooled};
use crate::error::{Result, ResultExt};
use crate::features::{
    Encoder, EventTimes, FeatureBins, LabelReader, Labels, NativeFit, ReadLabels, Rejections, SegmentReader,
    SegmentRows, Split, finite_rows,
};
use crate::job::{self, JobFile};
use crate::plan::Windows;
use crate::task::Task;
use arrow::array::RecordBatch;
use std::sync::Arc;

/// Everything that a training on bins needs, without the query.
pub struct Staged {
    /// Fitted on the training rows alone.
    pub encoder: Encoder,
    /// The bins of the encoder's features.
    pub bins: Vec<FeatureBins>,
    /// The classes' names.
    pub classes: Vec<String>,
    /// Rows to fit on.
    pub train: Part,
    /// Rows to measure on.
    pub test: Part,
    /// Rows between the two windows.
    pub gap_rows: u64,
    /// Rows without an event time.
    pub undated_rows: u64,
    /// The moments of the training rows; none where no row is kept from a fit.
    pub moments: Option<Moments>,
    /// The segments of the training rows, where those get models of their own.
    pub segments: Option<SegmentRows>,
    /// The job's model, which says how rows are kept from a fit.
    pub job: Arc<JobFile>,
}

/// The rows of one side of the split whose label is known and whose features are finite.
pub struct Part {
    /// The columns of the signature; of test rows also those of the key.
    pub rows: Spooled,
    /// Labels; days and weights where they are needed.
    pub observed: Observed,
    /// What was left out.
    pub counts: DataCounts,
}

/// Takes in the batches of the query, in order.
pub struct Stager {
    recipe: Arc<Recipe>,
    job: Arc<JobFile>,
    windows: Windows,
    fit: NativeFit,
    moments: Option<Moments>,
    segments: Option<SegmentReader>,
    train: Side,
    test: Side,
    passed: usize,
    gap_rows: u64,
    undated_rows: u64,
}

/// One side of the split on its way in.
struct Side {
    columns: Vec<String>,
    labels: LabelReader,
    rows: Spool,
    observed: Observed,
    /// Whether the days of the rows are kept.
    dated: bool,
    counts: DataCounts,
    selected: u64,
}

impl Stager {
    /// A stager for a job whose algorithm learns from bins.
    ///
    /// # Errors
    /// Usage: a job without a label, parameters that are wrong.
    pub fn new(recipe: Arc<Recipe>, job: Arc<JobFile>, windows: Windows, limit: &StreamLimit) -> Result<Self> {
        let features = &job.spec.features;
        let label = features.label.as_deref().ok_or_else(super::scored::no_label)?;
        let columns: Vec<String> = recipe.signature.columns.iter().map(|column| column.name.clone()).collect();
        let side = |columns: Vec<String>, spool: usize, dated: bool| Side {
            columns,
            labels: LabelReader::new(label, recipe.task),
            rows: Spool::new(spool),
            observed: Observed { samples: features.weight.as_ref().map(|_| Vec::new()), ..Observed::default() },
            dated,
            counts: DataCounts::default(),
            selected: 0,
        };
        // Of the training rows, segments are read as they pass; only folds are predicted and need them again.
        let routes = || recipe.segments.iter().flat_map(|rule| rule.columns.iter().map(|column| &column.name));
        let with_key = columns.iter().chain(&features.key).chain(routes()).cloned().collect();
        let folded = recipe.folds.is_some();
        let columns = columns.iter().chain(routes().filter(|_| folded)).cloned().collect();
        let segments = recipe.segments.as_ref().map(|rule| SegmentReader::new(rule.columns.clone()));
        let train = side(columns, limit.held_bytes, folded || recipe.search.is_some());
        let test = side(with_key, limit.held_bytes / 2, true);
        let fit = NativeFit::new(&recipe.signature, &recipe.encoder, recipe.seed)?;
        let kept = recipe.search.is_some() || recipe.algorithm.watched(&recipe.params)?.is_some();
        let moments = kept.then(|| Moments::new(recipe.seed));
        Ok(Self { recipe, windows, fit, moments, segments, train, test, passed: 0, gap_rows: 0, undated_rows: 0, job })
    }

    /// How many rows have passed.
    pub fn rows(&self) -> u64 {
        self.passed as u64
    }

    /// Takes in the next batch.
    ///
    /// # Errors
    /// `check` for labels, weights or times that can't be used; `failed` where the disk is full.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let (first, features) = (self.passed, &self.job.spec.features);
        self.passed += batch.num_rows();
        let one = std::slice::from_ref(batch);
        let times = EventTimes::read(one, &features.time).map_err(|error| error.counted_from("row", first))?;
        let key: Vec<&str> = features.key.iter().map(String::as_str).collect();
        let model = &self.job.spec.model;
        let split = match &model.split {
            job::Split::Time { .. } => Split::by_time(&times, self.windows.train, self.windows.test)?,
            job::Split::Hash { test } => Split::by_hash(one, &key, *test, model.seed)?,
        };
        self.gap_rows += split.outside;
        self.undated_rows += split.undated;
        let (time, weight) = (features.time.as_str(), features.weight.as_deref());
        let taken = self.train.add(batch, &split.train, |batch| self.fit.add(batch))?;
        self.train.observe(batch, time, weight, &taken, first)?;
        if let Some(segments) = &mut self.segments {
            segments.add(batch, &taken).map_err(|error| error.counted_from("row", first))?;
        }
        if let Some(moments) = &mut self.moments {
            moments.add(batch, &times, &key, &taken);
        }
        let taken = self.test.add(batch, &split.test, |batch| finite_rows(&self.recipe.signature, batch))?;
        self.test.observe(batch, time, weight, &taken, first)
    }

    /// All rows are in: classes, encoder and bins are known.
    ///
    /// # Errors
    /// `empty` where a window has no row; `check` where nothing can be learned or measured.
    pub fn finish(self) -> Result<Staged> {
        let Self { recipe, job, windows, fit, moments, segments, train, test, gap_rows, undated_rows, .. } = self;
        for (side, window) in [(&train, "training window"), (&test, "test window")] {
            if side.selected == 0 {
                return Err(super::train::unselected(window, windows));
            }
        }
        let (mut train, classes) = train.finish(None)?;
        let labels = train.take_labels(recipe.task, &classes);
        labels.require_two_classes().at("column", job.spec.features.label.as_deref().unwrap_or_default())?;
        train.observed.labels = labels.values;
        let (test, _) = test.finish(Some(&classes))?;
        if test.observed.labels.is_empty() {
            return Err(no_test_label());
        }
        let (encoder, bins) = fit.finish()?;
        let segments = segments.map(SegmentReader::finish);
        Ok(Staged { encoder, bins, classes, train, test, gap_rows, undated_rows, moments, segments, job })
    }
}

impl Part {
    /// Moves the labels out, in the form that weights and classes are computed from.
    pub fn take_labels(&mut self, task: Task, classes: &[String]) -> Labels {
        Labels {
            task,
            values: std::mem::take(&mut self.observed.labels),
            known: Vec::new(),
            classes: classes.to_vec(),
            unlabelled: self.counts.unlabelled,
            rejected: self.counts.rejected.clone(),
        }
    }
}

/// The rows of a batch that have no infinite value (`None`: all), and the others.
type Finite = (Option<Vec<usize>>, Rejections);

impl Side {
    /// Takes in the given rows of a batch; gives those that were kept.
    fn add(
        &mut self,
        batch: &RecordBatch,
        rows: &[usize],
        finite: impl FnOnce(&RecordBatch) -> Result<Finite>,
    ) -> Result<Vec<usize>> {
        self.selected += rows.len() as u64;
        let mut wanted = vec![false; batch.num_rows()];
        rows.iter().for_each(|row| wanted[*row] = true);
        let ReadLabels { rows, values } = self.labels.read(batch, Some(&wanted))?;
        if rows.is_empty() {
            return Ok(rows);
        }
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let taken = take_rows(&only_columns(batch, &columns)?, &rows)?;
        let (kept, rejected) = finite(&taken)?;
        self.counts.rejected.merge(&rejected);
        let Some(kept) = kept else {
            self.rows.push(&taken)?;
            self.observed.labels.extend(values);
            return Ok(rows);
        };
        self.rows.push(&take_rows(&taken, &kept)?)?;
        self.observed.labels.extend(kept.iter().map(|row| values[*row]));
        Ok(kept.iter().map(|row| rows[*row]).collect())
    }

    /// Reads days and weights of the rows that were kept.
    fn observe(
        &mut self,
        batch: &RecordBatch,
        time: &str,
        weight: Option<&str>,
        rows: &[usize],
        first: usize,
    ) -> Result<()> {
        self.observed.add(batch, time, weight, rows, first)?;
        if !self.dated {
            self.observed.days.clear();
        }
        Ok(())
    }

    /// All rows, and the classes of their labels.
    fn finish(self, given: Option<&[String]>) -> Result<(Part, Vec<String>)> {
        let Self { labels, rows, mut observed, mut counts, .. } = self;
        let classes = labels.finish(given)?;
        classes.apply(&mut observed.labels);
        counts.unlabelled = classes.unlabelled;
        counts.rejected.merge(&classes.rejected);
        Ok((Part { rows: rows.finish()?, observed, counts }, classes.names))
    }
}

#[cfg(test)]
mod tests {
    use super::super::binned::fit_binned;
    use super::super::dataset::Source;
    use super::super::dense::DenseLimit;
    use super::super::fit::{Fitted, fit};
    use super::super::search::Search;
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::features::{ClassWeight, EncoderOptions, Encoding, FittedColumn, Signature};
    use crate::forest::{Aggregation, Forest, TreeBuilder};
    use crate::metrics::MetricOptions;
    use crate::models::{self, Algorithm, BinnedSet, Form, Learned, Link, Params, Predictor, TrainingSet};
    use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    /// The best single split by squared error, over all features and bins; numbers only.
    struct Stump;

    impl Algorithm for Stump {
        fn name(&self) -> &'static str {
            "stump"
        }

        fn summary(&self) -> &'static str {
            "one split"
        }

        fn tasks(&self) -> &'static [Task] {
            &[Task::Binary, Task::Regression]
        }

        fn params_schema(&self) -> schemars::Schema {
            schemars::json_schema!({})
        }

        fn check_params(&self, _: &Params) -> Result<()> {
            Ok(())
        }

        fn encoding(&self) -> Encoding {
            Encoding::Native
        }

        fn watched(&self, params: &Params) -> Result<Option<f64>> {
            Ok(params.get("watched").and_then(serde_json::Value::as_f64))
        }

        fn fit(&self, _: &TrainingSet<'_>, _: &Params, _: u64) -> Result<Predictor> {
            Err(Error::failed("fitted on dense rows"))
        }

        fn fit_binned(&self, set: &BinnedSet<'_>, _: &Params, _: u64) -> Result<Learned> {
            set.admit(self)?;
            let rows: Vec<usize> = (0..set.rows()).filter(|row| !set.validation.is_some_and(|own| own[*row])).collect();
            let weight = |row: usize| set.weights.map_or(1.0, |weights| weights[row]);
            let mut best: (f64, u32, f64, f64, f64) = (-1.0, 0, 0.0, 0.0, 0.0);
            for feature in (0..set.bins.features()).filter(|feature| !set.bins.of(*feature).is_category()) {
                let (column, bins) = (set.bins.column(feature), set.bins.of(feature));
                for bin in 0..bins.bins() as u8 - 1 {
                    let mut sums = [[0.0; 2]; 2];
                    for row in &rows {
                        let side = &mut sums[usize::from(column[*row] > bin)];
                        side[0] += weight(*row) * set.labels[*row];
                        side[1] += weight(*row);
                    }
                    let gain = sums.iter().map(|[sum, all]| if *all > 0.0 { sum * sum / all } else { 0.0 }).sum();
                    let means = sums.map(|[sum, all]| if all > 0.0 { sum / all } else { 0.0 });
                    if gain > best.0 {
                        best = (gain, feature as u32, bins.threshold(bin), means[0], means[1]);
                    }
                }
            }
            let mut tree = TreeBuilder::new(1);
            let (left, right) = (tree.leaf(&[best.3]), tree.leaf(&[best.4]));
            let root = tree.split(best.1, best.2, left, right);
            let trees = vec![tree.finish(root, None)];
            let forest = Forest::new(set.bins.features(), vec![0.0], Aggregation::Sum, trees)?;
            Predictor::new(set.task, set.classes, set.bins.features(), Form::Forest(forest), Link::Identity)
                .map(Learned::from)
        }
    }

    const DAY: i64 = 86_400_000_000;

    /// Rows of ten days, 100 a day: four to fit on, one gap, two to measure on, and three of no window.
    fn rows() -> RecordBatch {
        let number = |row: i64| (row * 7919 % 1000) as f64;
        let numbers = (0..1000).map(|row| match row % 50 {
            0 => None,
            1 => Some(f64::NAN),
            2 => Some(f64::INFINITY),
            _ => Some(number(row)),
        });
        let labels = (0..1000).map(|row| (row % 40 != 0).then_some(i64::from(number(row) > 600.0 || row % 9 == 0)));
        let levels = (0..1000).map(|row| match row {
            row if row >= 500 && row % 30 == 3 => Some("never seen"),
            row if row % 11 == 0 => None,
            row => Some(["a", "b", "c"][row % 3]),
        });
        let columns: [(&str, ArrayRef); 7] = [
            ("id", Arc::new(Int64Array::from_iter_values(0..1000))),
            ("at", Arc::new(TimestampMicrosecondArray::from_iter_values((0..1000).map(|row| row * DAY / 100)))),
            ("x", Arc::new(Float64Array::from_iter(numbers))),
            ("level", Arc::new(StringArray::from_iter(levels))),
            ("constant", Arc::new(Int64Array::from_value(3, 1000))),
            ("weight", Arc::new(Float64Array::from_iter_values((0..1000).map(|row| f64::from(row % 3 + 1))))),
            ("y", Arc::new(Int64Array::from_iter(labels))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn job(more: &str) -> Arc<JobFile> {
        let text = format!(
            "version = 1\nname = \"j\"\nhome = \"h\"\n[tables]\nt = {{ path = \"t\" }}\n[features]\nsql = \"s\"\n\
             key = [\"id\"]\ntime = \"at\"\nlabel = \"y\"\n{more}\n[model]\ntask = \"binary\"\nalgorithm = \"stump\"\n\
             window = \"4d\"\nsplit = {{ by = \"time\", test = \"2d\", gap = \"1d\" }}\n"
        );
        let spec = toml::from_str(&text).unwrap();
        let (path, none) = (std::path::PathBuf::new(), String::new());
        Arc::new(JobFile { spec, path: path.clone(), root: path.clone(), text, sql_path: path, sql_text: none })
    }

    fn windows() -> Windows {
        let span = |from: &str, to: &str| format!("{from}/{to}").parse().unwrap();
        Windows { train: span("1970-01-01", "1970-01-05"), test: span("1970-01-06", "1970-01-08") }
    }

    fn recipe(algorithm: &'static dyn Algorithm) -> Recipe {
        Recipe {
            task: Task::Binary,
            algorithm,
            params: Params::new(),
            search: None,
            class_weight: None,
            seed: 7,
            signature: Signature::of(rows().schema_ref(), &["id", "at", "y", "weight"]).unwrap(),
            encoder: EncoderOptions { max_categories: 2 },
            folds: None,
            segments: None,
            importance: false,
            options: MetricOptions { resamples: 20, ..MetricOptions::default() },
            metrics: None,
        }
    }

    fn stage(recipe: &Arc<Recipe>, job: &Arc<JobFile>, batch: usize, limit: StreamLimit) -> Result<Staged> {
        let mut stager = Stager::new(Arc::clone(recipe), Arc::clone(job), windows(), &limit)?;
        let rows = rows();
        for start in (0..rows.num_rows()).step_by(batch) {
            stager.add(&rows.slice(start, batch.min(rows.num_rows() - start)))?;
        }
        assert_eq!(stager.rows(), 1000);
        stager.finish()
    }

    fn fitted(recipe: Recipe, more: &str, batch: usize, bytes: usize) -> Result<Fitted> {
        let (recipe, job) = (Arc::new(recipe), job(more));
        let limit = StreamLimit { held_bytes: bytes, matrix_bytes: bytes, fits_bytes: bytes };
        fit_binned(&recipe, stage(&recipe, &job, batch, limit)?, &job.spec.features.key, limit)
    }

    fn all(fitted: &Fitted) -> String {
        let Fitted { train_counts, test_counts, metrics, baseline, cross_validation, confusion, tested, .. } = fitted;
        let searched = format!("{:?} {:?}", fitted.params, fitted.search);
        let encoder = serde_json::to_string(&fitted.encoder).unwrap();
        let sizes = (fitted.train_rows, fitted.test_rows, fitted.gap_rows, &fitted.train_classes, &fitted.classes);
        let observed = (&tested.observed, &tested.outputs, &tested.keys);
        let payload = fitted.predictor.to_payload().unwrap();
        format!(
            "{encoder} {sizes:?} {train_counts:?} {test_counts:?} {metrics:?} {baseline:?} {cross_validation:?} \
             {confusion:?} {observed:?} {:?} {payload:?} {searched}",
            fitted.golden
        )
    }

    #[test]
    fn batches_disk_and_threads_change_no_byte() {
        let setting = |watched: f64| Params::from_iter([("watched".to_owned(), watched.into())]);
        let search = || Search {
            method: job::SearchMethod::Grid,
            settings: [0.0, 0.1, 0.4].map(setting).to_vec(),
            folds: 2,
            metric: "roc_auc".to_owned(),
            max_time: None,
            exactly: None,
        };
        let recipe = || Recipe {
            folds: Some(3),
            class_weight: Some(ClassWeight::Balanced),
            search: Some(search()),
            ..recipe(&Stump)
        };
        let found = fitted(recipe(), "", 64, 0).unwrap();
        let (report, chosen) = (found.search.unwrap(), found.params["watched"].clone());
        assert_eq!((report.tried.len(), &report.tried[report.chosen as usize].params["watched"]), (3, &chosen));
        let weight = "weight = \"weight\"";
        let whole = all(&fitted(recipe(), weight, 1000, usize::MAX).unwrap());
        for (batch, bytes) in [(1000, 0), (7, 0), (1, usize::MAX), (300, 1000)] {
            assert_eq!(all(&fitted(recipe(), weight, batch, bytes).unwrap()), whole, "{batch} rows, {bytes} bytes");
        }
        for threads in [1, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(all(&pool.install(|| fitted(recipe(), weight, 64, 0)).unwrap()), whole, "{threads} threads");
        }
    }

    #[test]
    fn the_same_rows_are_taken_as_from_memory() {
        let native = fitted(recipe(&Stump), "weight = \"weight\"", 64, 0).unwrap();
        let batches = [rows()];
        let source = Source { batches: &batches, label: "y", time: "at", weight: Some("weight") };
        let times = EventTimes::read(&batches, "at").unwrap();
        let split = Split::by_time(&times, windows().train, windows().test).unwrap();
        let limit = DenseLimit { memory_bytes: u64::MAX, algorithm: "prior", held_bytes: 0 };
        let dense = recipe(models::lookup("prior").unwrap());
        let dense = fit(&dense, source, &job("").spec, &split, &limit).unwrap();
        assert_eq!(native.train_counts.rejected, dense.train_counts.rejected);
        assert_eq!((native.train_counts.unlabelled, native.test_counts.unlabelled), (10, 5));
        assert_eq!(dense.train_counts.unlabelled, 10);
        assert_eq!(native.test_counts.rejected, dense.test_counts.rejected);
        // Rare levels and strangers, of rows that were kept.
        let levels = match &native.encoder.columns()[1] {
            FittedColumn::Codes { levels, .. } => levels.names().to_vec(),
            other => panic!("{other:?}"),
        };
        let batch = rows();
        let texts = batch.column_by_name("level").unwrap().as_string::<i32>();
        let unseen = |days: std::ops::Range<usize>| {
            let rows = (days.start * 100..days.end * 100).filter(|row| row % 40 != 0 && row % 50 != 2);
            rows.filter(|row| texts.is_valid(*row) && !levels.iter().any(|level| level == texts.value(*row))).count()
        };
        assert_eq!(levels.len(), 2);
        assert_eq!(native.train_counts.unseen.of("level"), unseen(0..4) as u64);
        assert_eq!(native.test_counts.unseen.of("level"), unseen(5..7) as u64);
        assert!(native.test_counts.imputed.is_empty() && !dense.test_counts.imputed.is_empty());
        let of = |fitted: &Fitted| {
            let (observed, sizes) = (&fitted.tested.observed, (fitted.train_rows, fitted.test_rows, fitted.gap_rows));
            format!("{sizes:?} {:?} {observed:?} {:?}", fitted.train_classes, fitted.tested.keys)
        };
        assert_eq!(of(&native), of(&dense));
        assert_eq!(native.baseline, dense.metrics, "the baseline is the prior");
        // The model has found what the label was made of, and measures it on rows that it has not seen.
        let auc = native.metrics[0].estimate.unwrap().value;
        assert!(auc > 0.85, "{auc}");
        assert_eq!(native.encoder.feature_names(), ["x", "level"]);
        assert_eq!(native.encoder.warnings().len(), 2);
        assert_eq!(native.golden.num_rows(), 16);
    }

    #[test]
    fn the_latest_rows_are_watched_and_not_learned_from() {
        let watching = || {
            let mut recipe = recipe(&Stump);
            recipe.params.insert("watched".to_owned(), 0.25.into());
            recipe
        };
        let limit = StreamLimit { held_bytes: 0, matrix_bytes: 0, fits_bytes: 0 };
        let staged = stage(&Arc::new(watching()), &job(""), 64, limit).unwrap();
        let watched = staged.moments.unwrap().watched(0.25, None).unwrap().unwrap();
        assert_eq!(watched.len(), staged.train.observed.labels.len());
        assert!(watched.is_sorted(), "the rows are in the order of time");
        assert_eq!(watched.iter().filter(|watched| **watched).count(), watched.len() / 4);
        let (with, without) = (fitted(watching(), "", 64, 0).unwrap(), fitted(recipe(&Stump), "", 64, 0).unwrap());
        assert_ne!(with.predictor, without.predictor);
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused() {
        let refused = |recipe: Recipe, more: &str| fitted(recipe, more, 64, 0).map(drop).unwrap_err();
        let regression = Recipe { task: Task::Multiclass, ..recipe(&Stump) };
        assert_eq!(refused(regression, "").kind(), ErrorKind::Usage);
        let error = refused(recipe(&Stump), "weight = \"x\"");
        assert_eq!(error.kind(), ErrorKind::Check);
        assert!(error.to_string().contains("row = 1"), "{error}");
        let none = Recipe { encoder: EncoderOptions { max_categories: 0 }, ..recipe(&Stump) };
        assert_eq!(refused(none, "").kind(), ErrorKind::Usage);
    }

    #[test]
    fn windows_without_rows_are_refused_by_name() {
        let (recipe, job) = (Arc::new(recipe(&Stump)), job(""));
        let limit = StreamLimit { held_bytes: 0, matrix_bytes: 0, fits_bytes: 0 };
        let finished = |start: usize, rows_taken: usize| {
            let mut stager = Stager::new(Arc::clone(&recipe), Arc::clone(&job), windows(), &limit).unwrap();
            stager.add(&rows().slice(start, rows_taken)).unwrap();
            stager.finish().map(drop).unwrap_err()
        };
        for (start, rows, message) in [(0, 400, "test window"), (400, 600, "training window")] {
            let error = finished(start, rows);
            assert_eq!(error.kind(), ErrorKind::Empty);
            assert!(error.message().contains(message), "{error}");
        }
    }
}
