//! The encoder's policies, one by one, and what must hold for any data: finite output, row by row
//! independence, splits that don't move, folds that are even.

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array,
    Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int8Type, UInt32Type};
use arrow::record_batch::RecordBatch;
use lakemill::error::ErrorKind;
use lakemill::features::{Dropped, Encoder, EncoderOptions, EventTimes, FittedColumn, Reason, Signature, Split, folds};
use proptest::prelude::*;
use std::sync::Arc;

const NAN: Option<f64> = Some(f64::NAN);
const INFINITE: Option<f64> = Some(f64::INFINITY);

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn floats(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// A column that varies, so that there is always a feature left.
fn varying(rows: usize) -> (&'static str, ArrayRef) {
    ("z", Arc::new(Int64Array::from_iter_values(0..rows as i64)))
}

fn fit(batch: &RecordBatch) -> Encoder {
    fit_with(batch, &EncoderOptions::default())
}

fn fit_with(batch: &RecordBatch, options: &EncoderOptions) -> Encoder {
    let signature = Signature::of(batch.schema_ref(), &[]).unwrap();
    Encoder::fit(&signature, std::slice::from_ref(batch), None, options).unwrap()
}

/// The encoded rows, row by row.
fn rows(encoder: &Encoder, batch: &RecordBatch) -> Vec<Vec<f64>> {
    let block = encoder.apply(batch).unwrap().block;
    (0..block.rows()).map(|row| (0..block.features()).map(|feature| block.value(row, feature)).collect()).collect()
}

#[test]
fn missing_numbers_become_the_median_and_say_so() {
    let training = batch(vec![("x", floats(&[Some(1.0), None, Some(9.0), NAN, Some(2.0)]))]);
    let encoder = fit(&training);
    assert_eq!(encoder.feature_names(), ["x", "x_missing"]);
    assert_eq!(rows(&encoder, &training), [[1.0, 0.0], [2.0, 1.0], [9.0, 0.0], [2.0, 1.0], [2.0, 0.0]]);
    assert_eq!(encoder.apply(&training).unwrap().imputed.of("x"), 2);
}

#[test]
fn a_column_that_was_never_missing_has_no_indicator_but_is_filled() {
    let encoder = fit(&batch(vec![("x", floats(&[Some(1.0), Some(2.0), Some(4.0), Some(8.0)]))]));
    assert_eq!(encoder.feature_names(), ["x"]);
    let scored = batch(vec![("x", floats(&[None, NAN, Some(5.0)]))]);
    assert_eq!(rows(&encoder, &scored), [[3.0], [3.0], [5.0]]);
    assert_eq!(encoder.apply(&scored).unwrap().imputed.of("x"), 2);
}

#[test]
fn infinite_values_reject_their_row_in_training_and_in_scoring() {
    let x = floats(&[Some(1.0), INFINITE, Some(3.0), Some(-f64::INFINITY), Some(2.0)]);
    let y = floats(&[Some(0.0), INFINITE, Some(0.5), Some(900.0), Some(1.0)]);
    let carrier = strings(&[Some("AA"), Some("ZZ"), Some("BB"), Some("AA"), None]);
    let training = batch(vec![("x", x), ("y", y), ("carrier", carrier)]);
    let encoder = fit(&training);
    // 900 and ZZ stand in rejected rows: neither takes part in what is learned.
    assert_eq!(encoder.feature_names(), ["x", "y", "carrier=AA", "carrier=BB", "carrier is null"]);
    assert_eq!(encoder.fitted_rows(), 3);
    let encoded = encoder.apply(&training).unwrap();
    assert_eq!(encoded.kept, Some(vec![0, 2, 4]));
    assert_eq!(encoded.block.column(1), [0.0, 0.5, 1.0]);
    assert_eq!(encoded.rejected, *encoder.fitted_rejections());
    assert_eq!(encoded.rejected.rows, 2);
    let counts: Vec<_> = encoded.rejected.counts.iter().map(|it| (it.column.as_str(), it.reason, it.rows)).collect();
    assert_eq!(counts, [("x", Reason::Infinite, 2), ("y", Reason::Infinite, 1)]);
}

#[test]
fn an_infinite_value_of_a_dropped_column_rejects_as_well() {
    let training = batch(vec![("x", floats(&[Some(1.0), INFINITE, Some(1.0)])), varying(3)]);
    let encoder = fit(&training);
    assert_eq!(encoder.columns()[0], FittedColumn::Dropped { reason: Dropped::Constant });
    assert_eq!(encoder.apply(&training).unwrap().kept, Some(vec![0, 2]));
}

#[test]
fn unseen_categories_are_all_zero_and_counted() {
    let encoder = fit(&batch(vec![("c", strings(&[Some("b"), Some("a"), Some("b")])), varying(3)]));
    assert_eq!(encoder.feature_names(), ["c=a", "c=b", "z"]);
    let scored = batch(vec![("c", strings(&[Some("a"), Some("new"), None])), varying(3)]);
    assert_eq!(rows(&encoder, &scored), [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 2.0]]);
    // A null that training never had is unseen too.
    assert_eq!(encoder.apply(&scored).unwrap().unseen.of("c"), 2);
}

#[test]
fn a_null_category_is_a_level_where_training_had_one() {
    let training = batch(vec![("c", strings(&[Some("null"), None, Some("null")]))]);
    let encoder = fit(&training);
    assert_eq!(encoder.feature_names(), ["c=null", "c is null"]);
    assert_eq!(rows(&encoder, &training), [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]);
    assert!(encoder.apply(&training).unwrap().unseen.is_empty());
}

#[test]
fn columns_without_use_are_dropped_with_a_warning() {
    let training = batch(vec![
        ("nothing", floats(&[None, NAN, None])),
        ("no_name", strings(&[None, None, None])),
        ("same", floats(&[Some(7.0), Some(7.0), Some(7.0)])),
        ("one_name", strings(&[Some("a"), Some("a"), Some("a")])),
        ("seven_or_null", floats(&[Some(7.0), None, Some(7.0)])),
        varying(3),
    ]);
    let encoder = fit(&training);
    assert_eq!(encoder.feature_names(), ["seven_or_null_missing", "z"]);
    assert_eq!(rows(&encoder, &training), [[0.0, 0.0], [1.0, 1.0], [0.0, 2.0]]);
    let warned: Vec<_> = encoder.warnings().into_iter().map(|warning| warning.column).collect();
    assert_eq!(warned, ["nothing", "no_name", "same", "one_name", "seven_or_null"]);
}

#[test]
fn training_without_a_feature_or_a_row_is_refused() {
    let constant = batch(vec![("same", floats(&[Some(7.0), Some(7.0)]))]);
    let signature = Signature::of(constant.schema_ref(), &[]).unwrap();
    let fit = |rows| Encoder::fit(&signature, std::slice::from_ref(&constant), rows, &EncoderOptions::default());
    let error = fit(None).unwrap_err();
    assert!(error.message().contains("`same` dropped: it has the same value"), "{error}");
    assert_eq!(fit(Some(&[])).unwrap_err().kind(), ErrorKind::Empty);
    assert!(fit(Some(&[2])).is_err());
    let infinite = batch(vec![("same", floats(&[INFINITE, INFINITE]))]);
    assert!(Encoder::fit(&signature, &[infinite], None, &EncoderOptions::default()).is_err());
}

#[test]
fn the_most_frequent_levels_are_kept_ties_by_name() {
    let names = ["d", "c", "c", "b", "b", "a", "e", "e", "e"].map(Some);
    let training = batch(vec![("c", strings(&names))]);
    let encoder = fit_with(&training, &EncoderOptions { max_categories: 2 });
    // e has 3 rows; b and c tie with 2, and b comes first.
    assert_eq!(encoder.feature_names(), ["c=b", "c=e"]);
    assert_eq!(encoder.apply(&training).unwrap().unseen.of("c"), 4);
    assert_eq!(encoder.warnings()[0].message, "kept the 2 most frequent of 5 levels; 4 training rows have another");
    let signature = Signature::of(training.schema_ref(), &[]).unwrap();
    let none = EncoderOptions { max_categories: 0 };
    assert_eq!(Encoder::fit(&signature, &[training], None, &none).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn booleans_are_0_and_1_and_their_nulls_the_median() {
    let training = batch(vec![("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])))]);
    assert_eq!(rows(&fit(&training), &training), [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]);
    let even = batch(vec![("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])))]);
    assert_eq!(rows(&fit(&even), &even)[1], [0.5, 1.0]);
}

#[test]
fn every_numeric_type_is_read() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i32", Arc::new(Int32Array::from(vec![Some(-1), None, Some(3)]))),
        ("f32", Arc::new(Float32Array::from(vec![0.5, f32::NAN, 1.5]))),
        ("u64", Arc::new(UInt64Array::from(vec![u64::MAX, 0, (1 << 53) + 1]))),
        ("dec", Arc::new(Decimal128Array::from(vec![10, 25, -5]).with_precision_and_scale(5, 2).unwrap())),
    ];
    let training = batch(columns);
    let got = rows(&fit(&training), &training);
    assert_eq!(got[0], [-1.0, 0.0, 0.5, 0.0, 18_446_744_073_709_551_616.0, 0.1]);
    assert_eq!(got[1], [1.0, 1.0, 1.0, 1.0, 0.0, 0.25]);
    assert_eq!(got[2], [3.0, 0.0, 1.5, 0.0, 9_007_199_254_740_992.0, -0.05]);
}

#[test]
fn only_the_training_rows_are_learned_from() {
    let x = floats(&[Some(1.0), Some(2.0), Some(3.0), None, INFINITE, Some(500.0)]);
    let c = strings(&[Some("a"), Some("b"), Some("a"), Some("test"), Some("b"), None]);
    let all = batch(vec![("x", x), ("c", c)]);
    let signature = Signature::of(all.schema_ref(), &[]).unwrap();
    let parts = [all.slice(0, 2), all.slice(2, 0), all.slice(2, 4)];
    let encoder = Encoder::fit(&signature, &parts, Some(&[2, 0, 1, 0]), &EncoderOptions::default()).unwrap();
    assert_eq!(encoder.feature_names(), ["x", "c=a", "c=b"]);
    assert!(encoder.fitted_rejections().is_empty());
    assert_eq!(encoder, fit(&all.slice(0, 3)));
}

#[test]
fn a_batch_that_does_not_fit_is_refused_by_name() {
    let encoder = fit(&batch(vec![("amount", floats(&[Some(1.0), Some(2.0)]))]));
    let error = encoder.apply(&batch(vec![("amount", strings(&[Some("1")]))])).unwrap_err();
    assert!(error.message().contains("`amount` was numeric (Float64) and is category (Utf8)"), "{error}");
    let wider = batch(vec![varying(1), ("amount", Arc::new(Int32Array::from(vec![5])))]);
    assert_eq!(rows(&encoder, &wider), [[5.0]]);
}

#[test]
fn strings_are_the_same_in_every_layout() {
    let values = [Some("a string longer than twelve bytes"), None, Some("b"), Some("new"), Some("b"), Some("")];
    let dictionary: DictionaryArray<Int8Type> = values.into_iter().collect();
    let wide_values: ArrayRef = Arc::new(StringViewArray::from(
        dictionary.values().as_ref().as_any().downcast_ref::<StringArray>().unwrap().iter().collect::<Vec<_>>(),
    ));
    let keys = arrow::compute::cast(dictionary.keys(), &arrow::datatypes::DataType::UInt32).unwrap();
    let keys = keys.as_any().downcast_ref::<arrow::array::UInt32Array>().unwrap().clone();
    let layouts: Vec<ArrayRef> = vec![
        strings(&values),
        Arc::new(LargeStringArray::from(values.to_vec())),
        Arc::new(StringViewArray::from(values.to_vec())),
        Arc::new(dictionary),
        Arc::new(DictionaryArray::<UInt32Type>::new(keys, wide_values)),
    ];
    let training = |layout: &ArrayRef| batch(vec![("c", layout.slice(0, 3)), varying(3)]);
    let reference = fit(&training(&layouts[0]));
    let expected = reference.apply(&batch(vec![("c", layouts[0].slice(1, 5)), varying(5)])).unwrap();
    assert_eq!(expected.unseen.of("c"), 2);
    for layout in &layouts {
        let encoder = fit(&training(layout));
        assert_eq!(encoder.columns(), reference.columns());
        assert_eq!(encoder.apply(&batch(vec![("c", layout.slice(1, 5)), varying(5)])).unwrap(), expected);
    }
}

#[test]
fn an_encoder_survives_json_to_the_bit() {
    let training = batch(vec![
        ("x", floats(&[Some(0.1), Some(0.2 + 0.1), None, Some(1e300), Some(-5e-324)])),
        ("c", strings(&[Some("ü"), Some("\"quoted\""), None, Some(""), Some("a")])),
    ]);
    let encoder = fit(&training);
    let read: Encoder = serde_json::from_str(&serde_json::to_string(&encoder).unwrap()).unwrap();
    assert_eq!(read, encoder);
    // A double's shortest text is its own, so equal texts are equal bits.
    assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(&encoder).unwrap());
    assert_eq!(read.apply(&training).unwrap(), encoder.apply(&training).unwrap());
}

#[test]
fn options_have_a_default_and_refuse_strangers() {
    assert_eq!(serde_json::from_str::<EncoderOptions>("{}").unwrap().max_categories, 100);
    assert!(serde_json::from_str::<EncoderOptions>(r#"{"max_categorys": 3}"#).is_err());
}

#[test]
fn windows_are_half_open_and_the_rest_is_counted() {
    let micros = ["2018-05-31", "2018-06-01", "2018-06-02", "2018-06-03", "2018-06-05"]
        .map(|day| Some(lakemill::interval::parse_instant(day).unwrap().timestamp_micros()));
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter(micros.into_iter().chain([None])));
    let parts = [batch(vec![("at", at.slice(0, 2))]), batch(vec![("at", at.slice(2, 4))])];
    let times = EventTimes::read(&parts, "at").unwrap();
    let interval = |text: &str| text.parse::<lakemill::interval::Interval>().unwrap();
    let split = Split::by_time(&times, interval("2018-05-31/2018-06-02"), interval("2018-06-03/2018-06-05")).unwrap();
    assert_eq!(split, Split { train: vec![0, 1], test: vec![3], outside: 2, undated: 1 });
    for test in ["2018-06-01/2018-06-05", "2018-05-01/2018-05-02"] {
        assert!(Split::by_time(&times, interval("2018-05-31/2018-06-02"), interval(test)).is_err(), "{test}");
    }
}

#[test]
fn keys_hash_by_value_not_by_layout() {
    let side = |columns: Vec<ArrayRef>| {
        let names = ["a", "b"];
        let key = &names[..columns.len()];
        let split = Split::by_hash(&[batch(key.iter().copied().zip(columns).collect())], key, 0.5, 7).unwrap();
        assert!(split.train.len() > 350 && split.test.len() > 350, "{} test rows of 1000", split.test.len());
        split.test
    };
    let ids = || 0..1000;
    let text: Vec<String> = ids().map(|id| format!("key number {id}")).collect();
    let by_int = side(vec![Arc::new(Int32Array::from_iter_values(ids()))]);
    assert_eq!(by_int, side(vec![Arc::new(Int64Array::from_iter_values(ids().map(i64::from)))]));
    assert_eq!(by_int, side(vec![Arc::new(UInt64Array::from_iter_values(ids().map(|id| id as u64)))]));
    let by_text = side(vec![Arc::new(StringArray::from_iter_values(&text))]);
    assert_eq!(by_text, side(vec![Arc::new(StringViewArray::from_iter_values(&text))]));
    let dictionary: DictionaryArray<UInt32Type> = text.iter().map(String::as_str).collect();
    assert_eq!(by_text, side(vec![Arc::new(dictionary)]));
    let digits: Vec<String> = ids().map(|id| id.to_string()).collect();
    assert_ne!(by_int, side(vec![Arc::new(StringArray::from_iter_values(&digits))]));
    let bytes = side(vec![Arc::new(BinaryArray::from_iter_values(&text))]);
    assert_ne!(by_text, bytes);
    let dates = side(vec![Arc::new(Date32Array::from_iter_values(ids()))]);
    let seconds = TimestampSecondArray::from_iter_values(ids().map(|day| i64::from(day) * 86_400));
    assert_eq!(dates, side(vec![Arc::new(seconds)]));
    let nulls = side(vec![Arc::new(Int32Array::from_iter_values(ids())), Arc::new(Int32Array::new_null(1000))]);
    assert_ne!(by_int, nulls);
}

#[test]
fn the_share_and_the_seed_of_a_hash_split_act() {
    let keys = batch(vec![varying(10_000)]);
    let tests = |share, seed| Split::by_hash(std::slice::from_ref(&keys), &["z"], share, seed).unwrap().test;
    for share in [0.05, 0.2, 0.9] {
        // Five standard deviations of a fair draw.
        let (found, spread) = (tests(share, 7).len() as f64, (10_000.0 * share * (1.0 - share)).sqrt());
        assert!((found - 10_000.0 * share).abs() < 5.0 * spread, "{found} test rows at {share}");
    }
    assert_ne!(tests(0.2, 7), tests(0.2, 8));
    // A greater share keeps the rows of a smaller one.
    let wide = tests(0.2, 7);
    assert!(tests(0.05, 7).iter().all(|row| wide.binary_search(row).is_ok()));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let values = |step: usize| (0..5_000).map(move |row| Some(((row * step) % 977) as f64).filter(|it| *it != 5.0));
    let text = (0..5_000).map(|row| format!("level {}", row % 137));
    let training = batch(vec![
        ("x", Arc::new(Float64Array::from_iter(values(31)))),
        ("y", Arc::new(Float64Array::from_iter(values(89)))),
        ("c", Arc::new(StringArray::from_iter_values(text))),
    ]);
    let json = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| serde_json::to_string(&fit(&training)).unwrap())
    };
    assert_eq!(json(1), json(4));
}

#[test]
fn hash_splits_refuse_what_has_no_exact_value() {
    let floats = batch(vec![("a", floats(&[Some(1.0)])), varying(1)]);
    let split = |key: &[&str], test| Split::by_hash(std::slice::from_ref(&floats), key, test, 0);
    assert!(split(&["z"], 0.2).is_ok());
    assert!(split(&["a"], 0.2).unwrap_err().message().contains("a key can't be Float64"));
    assert!(split(&["zz"], 0.2).is_err() && split(&[], 0.2).is_err());
    for test in [0.0, 1.0, -0.1, f64::NAN] {
        assert!(split(&["z"], test).is_err(), "{test}");
    }
}

/// Any number, plain ones most of the time.
fn number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (-3i8..3).prop_map(|value| Some(f64::from(value))),
        2 => any::<f64>().prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![Just(NAN), Just(INFINITE), Just(Some(-f64::INFINITY)), Just(Some(f64::MAX))],
    ]
}

/// A batch of one numeric, one string, one dictionary and one boolean column beside one that varies.
fn any_batch() -> impl Strategy<Value = RecordBatch> {
    let row = (number(), prop::option::of("[a-d]{0,2}"), prop::option::of("[a-c]"), any::<Option<bool>>());
    prop::collection::vec(row, 2..60).prop_map(|rows| {
        let dictionary: DictionaryArray<Int8Type> = rows.iter().map(|row| row.2.as_deref()).collect();
        batch(vec![
            ("x", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.0)))),
            ("c", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.as_deref())))),
            ("d", Arc::new(dictionary)),
            ("b", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.3)))),
            varying(rows.len()),
        ])
    })
}

proptest! {
    #[test]
    fn encoding_never_gives_nan_or_infinity(training in any_batch(), scored in any_batch()) {
        let signature = Signature::of(training.schema_ref(), &[]).unwrap();
        let Ok(encoder) = Encoder::fit(&signature, &[training], None, &EncoderOptions { max_categories: 3 }) else {
            return Ok(());
        };
        let encoded = encoder.apply(&scored).unwrap();
        prop_assert!(encoded.block.values().iter().all(|value| value.is_finite()));
        prop_assert_eq!(encoded.block.features(), encoder.features());
        prop_assert_eq!(encoded.block.rows() as u64 + encoded.rejected.rows, scored.num_rows() as u64);
    }

    #[test]
    fn a_slice_is_encoded_like_its_rows_of_the_whole(whole in any_batch(), cut in 0.0f64..1.0) {
        let signature = Signature::of(whole.schema_ref(), &[]).unwrap();
        let Ok(encoder) = Encoder::fit(&signature, std::slice::from_ref(&whole), None, &EncoderOptions::default()) else {
            return Ok(());
        };
        let cut = (whole.num_rows() as f64 * cut) as usize;
        let parts = [whole.slice(0, cut), whole.slice(cut, whole.num_rows() - cut)];
        // Fitting on the parts is fitting on the whole, too.
        prop_assert_eq!(&Encoder::fit(&signature, &parts, None, &EncoderOptions::default()).unwrap(), &encoder);
        let expected = encoder.apply(&whole).unwrap();
        let [mut head, tail] = parts.map(|part| encoder.apply(&part).unwrap());
        for feature in 0..encoder.features() {
            let joined = [head.block.column(feature), tail.block.column(feature)].concat();
            prop_assert_eq!(&joined[..], expected.block.column(feature));
        }
        head.rejected.merge(&tail.rejected);
        head.unseen.merge(&tail.unseen);
        head.imputed.merge(&tail.imputed);
        prop_assert_eq!((head.rejected, head.unseen, head.imputed), (expected.rejected, expected.unseen, expected.imputed));
    }

    #[test]
    fn hash_splits_stay_when_rows_are_added_or_moved(
        keys in prop::collection::vec((any::<Option<i64>>(), "[a-c]{0,3}"), 1..80),
        more in prop::collection::vec((any::<Option<i64>>(), "[a-c]{0,3}"), 0..20),
        seed in any::<u64>(),
        order in any::<prop::sample::Index>(),
    ) {
        let table = |rows: &[(Option<i64>, String)]| batch(vec![
            ("a", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)))),
            ("b", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)))),
        ]);
        let tests = |batches: &[RecordBatch]| Split::by_hash(batches, &["a", "b"], 0.3, seed).unwrap().test;
        let first = table(&keys);
        let before = tests(std::slice::from_ref(&first));
        // More rows behind, in a batch of their own.
        let after = tests(&[first.clone(), table(&more)]);
        prop_assert_eq!(&before[..], after.iter().copied().filter(|row| *row < keys.len()).collect::<Vec<_>>());
        // All rows turned by some places, in one batch.
        let both = concat_batches(first.schema_ref(), [&first, &table(&more)]).unwrap();
        let (count, turn) = (both.num_rows(), order.index(both.num_rows()));
        let turned: Vec<u32> = (0..count).map(|row| ((row + turn) % count) as u32).collect();
        let moved = take_record_batch(&both, &arrow::array::UInt32Array::from(turned.clone())).unwrap();
        let mut back: Vec<usize> = tests(&[moved]).into_iter().map(|row| turned[row] as usize).collect();
        back.sort_unstable();
        prop_assert_eq!(back, after);
    }

    #[test]
    fn folds_are_even_in_size_and_in_every_class(
        labels in prop::collection::vec(0u8..3, 20..200),
        k in 2usize..6,
        seed in any::<u64>(),
    ) {
        let labels: Vec<f64> = labels.into_iter().map(f64::from).collect();
        let count = |of: &dyn Fn(f64) -> bool| labels.iter().filter(|label| of(**label)).count();
        prop_assume!((0..3).all(|class| { let rows = count(&|label| label == f64::from(class)); rows == 0 || rows >= k }));
        for classes in [0, 3] {
            let folds = folds(&labels, classes, k, seed).unwrap();
            let even = |of: &dyn Fn(f64) -> bool| {
                let in_fold = |fold| (0..labels.len()).filter(|row| folds[*row] == fold && of(labels[*row])).count();
                let share = count(of) as f64 / k as f64;
                (0..k).all(|fold| (in_fold(fold) as f64 - share).abs() < 1.0)
            };
            prop_assert!(even(&|_| true));
            prop_assert!(classes == 0 || (0..3).all(|class| even(&|label| label == f64::from(class))));
            let split = Split::of_fold(&folds, 0);
            prop_assert_eq!(split.train.len() + split.test.len(), labels.len());
            prop_assert!(split.test.iter().all(|row| folds[*row] == 0) && split.train.iter().all(|row| folds[*row] != 0));
        }
    }
}
