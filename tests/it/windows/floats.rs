//! Floats that break running sums: what has left a frame must leave no trace in it.

use super::oracle::exact_sum;
use super::{Operator, Row, answer};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;

fn rows(floats: &[f64]) -> Vec<Row> {
    let row = |(at, float): (usize, &f64)| Row { part: None, key: Some(at as f64), whole: None, float: Some(*float) };
    floats.iter().enumerate().map(row).collect()
}

fn column(batch: &RecordBatch, column: &str) -> Vec<f64> {
    batch[column].as_primitive::<Float64Type>().iter().map(|float| float.unwrap_or(-12345.0)).collect()
}

/// Sums, means and deviations of the last `frame` rows.
async fn sliding(floats: &[f64], frame: usize, operator: Operator) -> RecordBatch {
    let sql = format!(
        "SELECT sum(float) OVER w AS sum, avg(float) OVER w AS mean, stddev_pop(float) OVER w AS deviation, \
         min(float) OVER w AS low, max(float) OVER w AS high FROM t \
         WINDOW w AS (ORDER BY key ROWS BETWEEN {} PRECEDING AND CURRENT ROW) ORDER BY key",
        frame - 1
    );
    answer(&rows(floats), 5, operator, &sql).await
}

#[tokio::test]
async fn what_leaves_a_frame_leaves_no_trace() {
    for poison in [1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e16, f64::MAX] {
        let mut floats: Vec<f64> = (0..40).map(|at| 0.1 * f64::from(at)).collect();
        floats[11] = poison;
        floats[12] = -poison;
        let found = sliding(&floats, 4, Operator::Ours).await;
        let (sums, deviations) = (column(&found, "sum"), column(&found, "deviation"));
        for end in 16..40 {
            let inside = &floats[end - 3..=end];
            assert_eq!(sums[end].to_bits(), exact_sum(inside).to_bits(), "{poison} in the sum of row {end}");
            let wanted = 0.1 * 1.25f64.sqrt();
            assert!((deviations[end] - wanted).abs() < 1e-15, "{poison} in the deviation of row {end}");
        }
        // While it is inside, it counts.
        if poison.is_finite() {
            assert_eq!(sums[11].to_bits(), exact_sum(&floats[8..12]).to_bits(), "{poison}");
            assert_eq!(sums[12].to_bits(), exact_sum(&floats[9..13]).to_bits(), "{poison}");
        } else {
            assert!(!sums[11].is_finite() && sums[12].is_nan(), "{poison}");
            assert!(deviations[11].is_nan(), "{poison}");
        }
    }
}

#[tokio::test]
async fn a_sum_overflows_only_where_the_true_one_does() {
    let floats = [-1e308, 1e308, 1e308, 1.0, -1e308, -1e308, 1e308, 1e308, 1e308, 0.0, 0.5];
    let found = sliding(&floats, 3, Operator::Ours).await;
    let (sums, means) = (column(&found, "sum"), column(&found, "mean"));
    assert_eq!(sums[2], 1e308);
    assert_eq!(sums[3], f64::INFINITY);
    assert_eq!(means[3], 1e308 / 1.5, "a mean does not overflow where its sum does");
    assert_eq!(sums[4], 1.0);
    assert_eq!(sums[5], f64::NEG_INFINITY);
    assert_eq!(sums[10], 1e308);
    assert_eq!(column(&sliding(&[1e308, 1e308, 0.25, 0.5, 0.125], 3, Operator::Ours).await, "sum")[4], 0.875);
}

#[tokio::test]
async fn sums_are_at_least_as_near_to_the_truth_as_stock_and_as_afresh() {
    // Sizes from 1e-9 to 1e9, both signs: a running sum drifts visibly in this.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let floats: Vec<f64> = (0..3000)
        .map(|_| {
            let (size, sign) = (10f64.powi((next() % 19) as i32 - 9), if next() % 2 == 0 { 1.0 } else { -1.0 });
            size * sign * ((next() % 1000) as f64 / 999.0)
        })
        .collect();
    let (ours, stock) = (sliding(&floats, 50, Operator::Ours).await, sliding(&floats, 50, Operator::Stock).await);
    let (ours, stock) = (column(&ours, "sum"), column(&stock, "sum"));
    let mut worse = 0;
    for end in 0..floats.len() {
        let inside = &floats[end.saturating_sub(49)..=end];
        let truth = exact_sum(inside);
        let afresh: f64 = inside.iter().sum();
        let error = (ours[end] - truth).abs();
        assert!(error <= (stock[end] - truth).abs() && error <= (afresh - truth).abs(), "row {end}");
        worse += usize::from((stock[end] - truth).abs() > error);
    }
    assert!(worse > 2000, "stock is as good in all but {worse} rows: the test has lost its edge");
}

#[tokio::test]
async fn extremes_order_floats_as_stock_does() {
    let floats = [1.0, f64::NAN, -f64::NAN, -0.0, 0.0, f64::INFINITY, 2.0, -3.0, f64::NEG_INFINITY, 0.0, -0.0, 5.0];
    for frame in [1, 2, 3, 5, 12] {
        let (ours, stock) =
            (sliding(&floats, frame, Operator::Ours).await, sliding(&floats, frame, Operator::Stock).await);
        for name in ["low", "high"] {
            let bits =
                |batch: &RecordBatch| column(batch, name).iter().map(|float| float.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&ours), bits(&stock), "{name} of {frame} rows");
        }
    }
}
