//! Into which plans the operator is put, and within which memory it stays.

use super::{Operator, Row, ask, session};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, ident,
};
use datafusion::physical_plan::displayable;
use datafusion::scalar::ScalarValue;
use lakemill::error::ErrorKind;
use lakemill::query::{Session, SessionOptions};
use std::sync::Arc;

fn rows(count: usize) -> Vec<Row> {
    let row = |at: usize| Row {
        part: Some(format!("p{}", at % 3)),
        key: Some(at as f64),
        whole: Some(at as i64),
        float: Some(at as f64),
    };
    (0..count).map(row).collect()
}

async fn plan(sql: &str) -> String {
    session(&rows(10), 4, Operator::Ours).ad_hoc(sql).await.unwrap().explain().physical
}

#[tokio::test]
async fn what_is_not_taken_over_is_left_to_stock() {
    let frames = "ROWS BETWEEN 3 PRECEDING AND CURRENT ROW";
    let calls = [
        "rank() OVER (PARTITION BY part ORDER BY id)".to_owned(),
        "lag(whole) OVER (PARTITION BY part ORDER BY id)".to_owned(),
        format!("nth_value(whole, 2) OVER (PARTITION BY part ORDER BY id {frames})"),
        format!("first_value(whole) IGNORE NULLS OVER (PARTITION BY part ORDER BY id {frames})"),
        "last_value(whole) IGNORE NULLS OVER (PARTITION BY part ORDER BY id)".to_owned(),
        format!("sum(DISTINCT whole) OVER (PARTITION BY part ORDER BY id {frames})"),
        format!("median(whole) FILTER (WHERE whole > 3) OVER (PARTITION BY part ORDER BY id {frames})"),
        format!("min(part) OVER (PARTITION BY part ORDER BY id {frames})"),
        format!("corr(float, key) OVER (PARTITION BY part ORDER BY id {frames})"),
        "sum(whole) OVER (PARTITION BY part ORDER BY id GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW)".to_owned(),
        "sum(whole) OVER (PARTITION BY part ORDER BY CAST(tick AS DECIMAL(30, 2)) \
         RANGE BETWEEN 3 PRECEDING AND CURRENT ROW)"
            .to_owned(),
        "array_agg(id) FILTER (WHERE whole > 3) OVER (PARTITION BY part ORDER BY tick)".to_owned(),
    ];
    for call in calls {
        let plan = plan(&format!("SELECT id, {call} AS x FROM t")).await;
        assert!(plan.contains("WindowAggExec") && !plan.contains("SlidingWindowExec"), "{call}\n{plan}");
        let found = ask(&session(&rows(10), 4, Operator::Ours), &format!("SELECT id, {call} AS x FROM t")).await;
        assert_eq!(found.unwrap().num_rows(), 10, "{call}");
    }
}

#[tokio::test]
async fn a_filter_under_any_name_is_seen() {
    let frame = "OVER (ORDER BY id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)";
    // Of 6, 7, 8 and 9.
    for (call, wanted) in [("sum", 21), ("median", 7)] {
        let call = format!("{call}(whole) FILTER (WHERE whole < 9) {frame}");
        let mut names = Vec::new();
        for operator in [Operator::Ours, Operator::Stock] {
            let sql = format!("SELECT CAST({call} AS BIGINT) AS total, {call} FROM t ORDER BY id");
            let found = ask(&session(&rows(10), 4, operator), &sql).await.unwrap();
            assert_eq!(found["total"].as_primitive::<Int64Type>().value(9), wanted, "{call}");
            names.push(found.schema().field(1).name().clone());
        }
        assert!(names[0] == names[1] && names[0].contains("FILTER"), "{names:?}");
    }
}

#[tokio::test]
async fn windows_of_one_order_are_one_pass() {
    let sql = "SELECT id, count(*) OVER a AS x, sum(whole) OVER b AS y, max(float) OVER c AS z, min(float) OVER d AS u \
        FROM t WINDOW a AS (PARTITION BY part ORDER BY tick RANGE BETWEEN 3 PRECEDING AND CURRENT ROW), \
        b AS (PARTITION BY part ORDER BY tick RANGE BETWEEN 5 PRECEDING AND 1 FOLLOWING), \
        c AS (PARTITION BY part ORDER BY tick ROWS BETWEEN 5 PRECEDING AND UNBOUNDED FOLLOWING), \
        d AS (PARTITION BY part ORDER BY tick)";
    let plan = plan(sql).await;
    assert_eq!(plan.matches("SlidingWindowExec").count(), 1, "{plan}");
    assert!(!plan.contains("WindowAggExec"), "{plan}");
    assert!(plan.contains("frames=4"), "{plan}");
}

/// A window over a table or over another window.
fn window(name: &str, column: &str, preceding: u64) -> Expr {
    let frame = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(preceding))),
        WindowFrameBound::CurrentRow,
    );
    let sum = Expr::from(WindowFunction::new(WindowFunctionDefinition::AggregateUDF(sum_udaf()), vec![ident(column)]));
    let over = sum.partition_by(vec![ident("part")]).order_by(vec![ident("tick").sort(true, false)]);
    over.window_frame(frame).build().unwrap().alias(name)
}

#[tokio::test]
async fn a_chain_of_windows_is_folded_unless_one_reads_another() {
    for (column, operators) in [("whole", 1), ("wide", 2)] {
        let mut found = Vec::new();
        for operator in [Operator::Ours, Operator::Stock] {
            let session = session(&rows(50), 7, operator);
            let table = session.context().table("t").await.unwrap();
            let chain = table.window(vec![window("wide", "float", 4)]).unwrap();
            let chain = chain.window(vec![window("narrow", column, 2)]).unwrap();
            let plan = chain.clone().create_physical_plan().await.unwrap();
            let text = displayable(plan.as_ref()).indent(false).to_string();
            assert_eq!(
                text.matches("SlidingWindowExec").count(),
                usize::from(operator == Operator::Ours) * operators,
                "{text}"
            );
            let sorted = chain.sort(vec![ident("id").sort(true, false)]).unwrap();
            found.push(concat_batches(&plan.schema(), &sorted.collect().await.unwrap()).unwrap());
        }
        assert_eq!(found[0], found[1], "{column}");
    }
}

#[tokio::test]
async fn memory_that_is_not_there_is_told() {
    let rows = rows(200_000);
    let ask_within = async |bytes: usize, frame: &str| {
        let mut session = Session::new(SessionOptions::features(bytes)).unwrap();
        let batches = super::batches(&rows, 8192);
        session.register_batches("t", batches[0].schema(), batches).unwrap();
        let sql = format!("SELECT id, sum(float) OVER (ROWS BETWEEN {frame}) AS x FROM t");
        ask(&session, &sql).await
    };
    let error = ask_within(2_000_000, "1 PRECEDING AND UNBOUNDED FOLLOWING").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Budget, "{error:?}");
    assert!(error.to_string().contains("SlidingWindowExec"), "{error:?}");
    // What has left a frame is let go.
    let found = ask_within(2_000_000, "9 PRECEDING AND 9 FOLLOWING").await.unwrap();
    assert_eq!(found.num_rows(), rows.len());
    let found = ask_within(2_000_000, "UNBOUNDED PRECEDING AND CURRENT ROW").await.unwrap();
    assert_eq!(found.num_rows(), rows.len());
}

#[tokio::test]
async fn a_sort_that_does_not_fit_into_memory_spills() {
    let batches: Vec<RecordBatch> = (0..120_i64)
        .map(|part| {
            let column = |value: fn(i64) -> i64| {
                let rows = (0..8192).map(|row| value(row * 7919 + part));
                Arc::new(Int64Array::from_iter_values(rows)) as ArrayRef
            };
            RecordBatch::try_from_iter([("id", column(|row| row)), ("part", column(|row| row % 1009))]).unwrap()
        })
        .collect();
    let sql = "SELECT id, part, sum(id) OVER (PARTITION BY part ORDER BY id ROWS 10 PRECEDING) AS total FROM t";
    let mut found = Vec::new();
    for memory in [1 << 30, 40_000_000] {
        let mut session = Session::new(SessionOptions::features(memory)).unwrap();
        session.register_batches("t", batches[0].schema(), batches.clone()).unwrap();
        let plan = session.ad_hoc(sql).await.unwrap().explain().physical;
        assert!(plan.contains("KeySortExec"), "{plan}");
        found.push(ask(&session, sql).await.unwrap());
    }
    // 983,040 rows take 70 MB while they are sorted in memory, so the second time they cannot have been.
    assert_eq!(found[0].num_rows(), 120 * 8192);
    assert_eq!(found[0], found[1]);
}
