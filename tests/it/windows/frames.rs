//! Every aggregate over every kind of frame, on random rows, against the oracle; and at any batch size the same bytes.

use super::oracle::{Frame, Order, Side, exact_sum, squares};
use super::{Operator, Row, answer, answer_letting_go};
use crate::sites::blocking;
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use proptest::prelude::*;
use std::collections::BTreeSet;

const AGGREGATES: &str = "count(*) OVER w AS rows, count(float) OVER w AS floats, count(part) OVER w AS parts, \
    sum(whole) OVER w AS total, sum(float) OVER w AS sum, avg(float) OVER w AS mean, avg(whole) OVER w AS whole_mean, \
    min(float) OVER w AS low, max(float) OVER w AS high, min(whole) OVER w AS whole_low, \
    max(whole) OVER w AS whole_high, stddev(float) OVER w AS deviation, stddev_samp(float) OVER w AS deviation_again, \
    stddev_pop(float) OVER w AS deviation_pop, var_pop(float) OVER w AS variance_pop, var(float) OVER w AS variance, \
    count(DISTINCT whole) OVER w AS different, count(DISTINCT part) OVER w AS different_parts, \
    count(*) FILTER (WHERE whole > 0) OVER w AS above, sum(float) FILTER (WHERE whole > 0) OVER w AS sum_above, \
    first_value(id) OVER w AS first, last_value(id) OVER w AS last";

/// What DataFusion's functions compute over frames that are ours: only of a distance.
const OTHERS: &str = "min(part) OVER w AS low_part, max(part) OVER w AS high_part, nth_value(key, 2) OVER w AS second, \
    first_value(key) IGNORE NULLS OVER w AS low_key, last_value(key) IGNORE NULLS OVER w AS high_key, \
    bit_xor(whole) OVER w AS bits, ";

/// When rows are let go: as ever, which is not in so few rows, or soon.
fn let_go() -> impl Strategy<Value = Option<usize>> {
    prop::sample::select(vec![None, Some(1), Some(3), Some(7)])
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![
        Just(Side::Unbounded),
        Just(Side::Current),
        (-4i64..5).prop_map(Side::Rows),
        (-6i64..7).prop_map(|by| Side::Range(by as f64 * 0.5)),
    ]
}

/// Frames of one unit, whose start is not after their end.
fn frame() -> impl Strategy<Value = Frame> {
    (side(), side()).prop_filter_map("a frame of one unit, not backwards", |(start, end)| {
        let place = |side: Side, unbounded: f64| match side {
            Side::Unbounded => unbounded,
            Side::Current => 0.0,
            Side::Rows(by) => by as f64,
            Side::Range(by) => by,
        };
        let is_range = |side: Side| matches!(side, Side::Range(_));
        let frame = Frame { start, end };
        let backwards = place(start, f64::NEG_INFINITY) > place(end, f64::INFINITY);
        let mixed = frame.is_rows() && (is_range(start) || is_range(end));
        // CURRENT ROW is a row in a ROWS frame.
        let current = |side: Side| if frame.is_rows() && side == Side::Current { Side::Rows(0) } else { side };
        (!backwards && !mixed).then_some(Frame { start: current(start), end: current(end) })
    })
}

fn key() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        1 => Just(None),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0]).prop_map(Some),
        8 => (-6i64..7).prop_map(|key| Some(key as f64 * 0.5)),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let part = prop::option::of(prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned));
    let float = prop_oneof![
        2 => Just(None),
        8 => (-1000i64..1000).prop_map(|float| Some(float as f64 * 0.1)),
        1 => prop::sample::select(vec![1e300, -1e300, 1e-300, 1e16]).prop_map(Some),
    ];
    let whole = prop_oneof![1 => Just(None), 8 => (-100i64..100).prop_map(Some), 1 => any::<i64>().prop_map(Some)];
    let row = (part, key(), whole, float).prop_map(|(part, key, whole, float)| Row { part, key, whole, float });
    prop::collection::vec(row, 0..40)
}

fn order() -> impl Strategy<Value = Order> {
    (any::<bool>(), any::<bool>()).prop_map(|(descending, nulls_first)| Order { descending, nulls_first })
}

fn wholes(batch: &RecordBatch, column: &str) -> Vec<Option<i64>> {
    batch[column].as_primitive::<Int64Type>().iter().collect()
}

fn floats(batch: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    batch[column].as_primitive::<Float64Type>().iter().collect()
}

/// Whether two floats are as good as equal, where numbers as large as `scale` were summed.
fn near(found: Option<f64>, wanted: Option<f64>, scale: f64) -> bool {
    match (found, wanted) {
        (None, None) => true,
        (Some(found), Some(wanted)) if wanted.is_finite() => {
            (found - wanted).abs() <= wanted.abs() * 4.0 * f64::EPSILON + scale * 1e-29
        }
        _ => false,
    }
}

/// Compares all aggregates of all rows with those of the rows in their frames.
fn check(rows: &[Row], frame: &Frame, order: &Order, found: &RecordBatch) {
    assert_eq!(found.num_rows(), rows.len());
    let ids = wholes(found, "id");
    let frames = order.frames(rows, frame);
    for (at, id) in ids.iter().enumerate() {
        let row = id.unwrap() as usize;
        let inside = &frames[row];
        let of_floats: Vec<f64> = inside.iter().filter_map(|other| rows[*other].float).collect();
        let of_wholes: Vec<i64> = inside.iter().filter_map(|other| rows[*other].whole).collect();
        let parts = inside.iter().filter(|other| rows[**other].part.is_some()).count();
        let told = |column: &str| format!("{column} of row {row}: {frame:?} {order:?}\n{rows:?}");
        let whole =
            |column: &str, wanted: Option<i64>| assert_eq!(wholes(found, column)[at], wanted, "{}", told(column));
        whole("rows", Some(inside.len() as i64));
        whole("floats", Some(of_floats.len() as i64));
        whole("parts", Some(parts as i64));
        whole("total", of_wholes.iter().copied().reduce(i64::wrapping_add));
        whole("whole_low", of_wholes.iter().copied().min());
        whole("whole_high", of_wholes.iter().copied().max());
        whole("different", Some(of_wholes.iter().collect::<BTreeSet<_>>().len() as i64));
        let different_parts: BTreeSet<_> = inside.iter().filter_map(|other| rows[*other].part.as_ref()).collect();
        whole("different_parts", Some(different_parts.len() as i64));
        let positive = |other: &usize| rows[*other].whole.is_some_and(|whole| whole > 0);
        whole("above", Some(inside.iter().filter(|other| positive(other)).count() as i64));
        if frame.is_distant() {
            others(rows, inside, found, (at, row));
        }
        if frame.is_rows() {
            whole("first", inside.first().map(|other| *other as i64));
            whole("last", inside.last().map(|other| *other as i64));
        }
        let count = of_floats.len() as f64;
        let scale = of_floats.iter().fold(0.0, |sum: f64, float| sum + float.abs());
        let some = |wanted: f64, least: usize| (of_floats.len() >= least).then_some(wanted);
        let float = |column: &str, wanted: Option<f64>, scale: f64| {
            let found = floats(found, column)[at];
            assert!(near(found, wanted, scale), "{found:?}, not {wanted:?}: {}", told(column));
        };
        let sum = exact_sum(&of_floats);
        float("sum", some(sum, 1), scale);
        float("mean", some(sum / count, 1), scale);
        let above: Vec<f64> =
            inside.iter().filter(|other| positive(other)).filter_map(|other| rows[*other].float).collect();
        let scale_above = above.iter().fold(0.0, |sum: f64, float| sum + float.abs());
        float("sum_above", (!above.is_empty()).then(|| exact_sum(&above)), scale_above);
        float("low", of_floats.iter().copied().min_by(f64::total_cmp), 0.0);
        float("high", of_floats.iter().copied().max_by(f64::total_cmp), 0.0);
        let as_floats: Vec<f64> = of_wholes.iter().map(|whole| *whole as f64).collect();
        let whole_mean = exact_sum(&as_floats) / as_floats.len() as f64;
        float("whole_mean", (!as_floats.is_empty()).then_some(whole_mean), 0.0);
        let squares = if of_floats.len() > 1 { squares(&of_floats) } else { 0.0 };
        // The oracle's own squares are rounded to some digits.
        let spread = |column: &str, wanted: Option<f64>| {
            let found = floats(found, column)[at];
            let told = || format!("{found:?}, not {wanted:?}: {}", told(column));
            match (found, wanted) {
                (Some(found), Some(wanted)) if wanted.is_finite() => {
                    assert!((found - wanted).abs() <= wanted * 1e-12 + scale * 1e-14, "{}", told());
                }
                // Squares that overflow: of the oracle's, nothing is left to compare with.
                (Some(_), Some(_)) => {}
                _ => assert_eq!(found, wanted, "{}", told()),
            }
        };
        spread("variance_pop", some(squares / count, 1));
        spread("deviation_pop", some((squares / count).sqrt(), 1));
        spread("variance", some(squares / (count - 1.0), 2));
        spread("deviation", some((squares / (count - 1.0)).sqrt(), 2));
        spread("deviation_again", some((squares / (count - 1.0)).sqrt(), 2));
    }
}

/// Compares what only DataFusion's functions compute.
fn others(rows: &[Row], inside: &[usize], found: &RecordBatch, (at, row): (usize, usize)) {
    let part = |column: &str| found[column].as_string::<i32>().iter().nth(at).flatten().map(str::to_owned);
    let parts = || inside.iter().filter_map(|other| rows[*other].part.clone());
    assert_eq!(part("low_part"), parts().min(), "of row {row}\n{rows:?}");
    assert_eq!(part("high_part"), parts().max(), "of row {row}\n{rows:?}");
    let key = |column: &str| floats(found, column)[at].map(f64::to_bits);
    let keys: Vec<u64> = inside.iter().filter_map(|other| rows[*other].key).map(f64::to_bits).collect();
    let second = inside.get(1).and_then(|other| rows[*other].key).map(f64::to_bits);
    assert_eq!(key("second"), second, "of row {row}\n{rows:?}");
    assert_eq!(key("low_key"), keys.first().copied(), "of row {row}\n{rows:?}");
    assert_eq!(key("high_key"), keys.last().copied(), "of row {row}\n{rows:?}");
    let bits = inside.iter().filter_map(|other| rows[*other].whole).reduce(|a, b| a ^ b);
    assert_eq!(wholes(found, "bits")[at], bits, "of row {row}\n{rows:?}");
}

/// The values of a column of 64-bit numbers, or of texts of one letter, as bits; NaN is one.
fn bytes(column: &ArrayRef) -> Vec<Option<u64>> {
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts.iter().map(|text| text.map(|text| u64::from(text.as_bytes()[0]))).collect();
    }
    match column.as_primitive_opt::<Float64Type>() {
        Some(floats) => floats.iter().map(|float| float.map(f64::to_bits)).collect(),
        None => column.as_primitive::<Int64Type>().iter().map(|whole| whole.map(i64::cast_unsigned)).collect(),
    }
}

fn sql(frame: &Frame, order: &Order, column: &str, unit: impl Fn(f64) -> String) -> String {
    let others = if frame.is_distant() { OTHERS } else { "" };
    let (order, frame) = (order.sql(column, frame), frame.sql(unit));
    format!("SELECT id, {others}{AGGREGATES} FROM t WINDOW w AS (PARTITION BY part ORDER BY {order} {frame})")
}

/// The end of a frame may stay where it is while all rows before it are let go, but for the last one in the frame.
#[tokio::test]
async fn the_last_row_of_a_frame_is_held_however_long_it_stays_the_last() {
    const BATCH: usize = 1024;
    // More rows than are held for nothing; and at the first of the later ones all ends leap there.
    const EARLY: i64 = 40 * 1024;
    const LATER: i64 = 4 * 1024;
    const LAG: i64 = 20_000;
    let tick = |id: i64| if id < EARLY { id } else { EARLY - 1 + LAG };
    let row = |id: i64| Row { part: None, key: Some(tick(id) as f64), whole: Some(id), float: None };
    let rows: Vec<Row> = (0..EARLY + LATER).map(row).collect();
    let frame = format!("ORDER BY tick RANGE BETWEEN UNBOUNDED PRECEDING AND {LAG} PRECEDING");
    let sql = format!("SELECT id, last_value(whole) OVER ({frame}) AS last, count(*) OVER ({frame}) AS rows FROM t");
    let found = answer(&rows, BATCH, Operator::Ours, &sql).await;
    let (ids, last, counts) = (wholes(&found, "id"), wholes(&found, "last"), wholes(&found, "rows"));
    assert_eq!(ids.len(), rows.len());
    for ((id, last), count) in ids.into_iter().zip(last).zip(counts) {
        let until = tick(id.unwrap()) - LAG;
        assert_eq!((last, count), ((until >= 0).then_some(until), Some((until + 1).max(0))), "{id:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_what_their_definition_says(
        rows in rows(), frame in frame(), order in order(), batch in 1usize..12, let_go in let_go(),
    ) {
        let sql = sql(&frame, &order, "key", |by| format!("{by:?}"));
        check(&rows, &frame, &order, &blocking(answer_letting_go(&rows, batch, let_go, &sql)));
    }

    #[test]
    fn integer_keys_go_the_same_way(
        rows in rows(), frame in frame(), order in order(), batch in 1usize..12, let_go in let_go(),
    ) {
        let ticks = |side: Side| match side {
            Side::Range(by) => Side::Range(by.trunc()),
            other => other,
        };
        let frame = Frame { start: ticks(frame.start), end: ticks(frame.end) };
        let ticked = |row: &Row| Row { key: row.key.map(|key| key as i64 as f64 + 0.0), ..row.clone() };
        // The farthest ticks lie where the oracle's floats cannot tell neighbours apart.
        let rows: Vec<Row> = rows.iter().map(ticked).filter(|row| row.key.is_none_or(|key| key.abs() < 1e9)).collect();
        let sql = sql(&frame, &order, "tick", |by| format!("{by}"));
        check(&rows, &frame, &order, &blocking(answer_letting_go(&rows, batch, let_go, &sql)));
    }

    #[test]
    fn any_batch_size_gives_the_same_bytes(
        rows in rows(), frame in frame(), order in order(), let_go in let_go(),
    ) {
        let sql = format!("{} ORDER BY id", sql(&frame, &order, "key", |by| format!("{by:?}")));
        let wanted = blocking(answer(&rows, 8192, Operator::Ours, &sql));
        for batch in [1, 2, 3, 7, 16] {
            let found = blocking(answer_letting_go(&rows, batch, let_go, &sql));
            // In a RANGE frame, which of several peers is the first is up to the sort.
            let ties = usize::from(!frame.is_rows()) * 2;
            for column in 0..wanted.num_columns() - ties {
                let (wanted, found) = (bytes(wanted.column(column)), bytes(found.column(column)));
                prop_assert_eq!(wanted, found, "column {} in batches of {}: {:?}\n{:?}", column, batch, frame, rows);
            }
        }
    }
}
