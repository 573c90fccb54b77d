//! Generated queries: expressions of all types inside selections, groups, joins, windows, orders and unions.
//!
//! The generator is seeded, so every run makes the same queries.

use super::both;
use super::tables::session;
use lakemill::query::Parameters;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const QUERIES: usize = 160;

fn one_of(texts: &[&str]) -> BoxedStrategy<String> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    proptest::sample::select(texts).boxed()
}

fn whole(depth: u32) -> BoxedStrategy<String> {
    let leaf = one_of(&["id", "k", "i", "n", "small", "3", "-2", "0", "100"]);
    if depth == 0 {
        return leaf;
    }
    let (a, b) = (whole(depth - 1), whole(depth - 1));
    prop_oneof![
        2 => leaf,
        3 => (a.clone(), one_of(&["+", "-", "*"]), b.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => (a.clone(), b.clone()).prop_map(|(a, b)| format!("({a} / nullif({b}, 0))")),
        1 => (a.clone(), b.clone()).prop_map(|(a, b)| format!("({a} % nullif({b}, 0))")),
        1 => (truth(depth - 1), a.clone(), b.clone()).prop_map(|(c, a, b)| format!("CASE WHEN {c} THEN {a} ELSE {b} END")),
        1 => (a.clone(), b).prop_map(|(a, b)| format!("coalesce({a}, {b})")),
        1 => a.prop_map(|a| format!("abs({a})")),
        1 => text(depth - 1).prop_map(|s| format!("length({s})")),
        1 => day(depth - 1).prop_map(|d| format!("CAST(extract(month FROM {d}) AS BIGINT)")),
    ]
    .boxed()
}

fn real(depth: u32) -> BoxedStrategy<String> {
    let leaf = one_of(&["y", "z", "y", "0.5", "-1.25", "1e3"]);
    if depth == 0 {
        return leaf;
    }
    let (a, b) = (real(depth - 1), real(depth - 1));
    prop_oneof![
        2 => leaf,
        3 => (a.clone(), one_of(&["+", "-", "*", "/"]), b.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => a.clone().prop_map(|a| format!("sqrt(abs({a}))")),
        1 => a.clone().prop_map(|a| format!("round({a}, 1)")),
        1 => whole(depth - 1).prop_map(|a| format!("CAST({a} AS DOUBLE)")),
        1 => (truth(depth - 1), a, b).prop_map(|(c, a, b)| format!("CASE WHEN {c} THEN {a} ELSE {b} END")),
    ]
    .boxed()
}

fn text(depth: u32) -> BoxedStrategy<String> {
    let leaf = one_of(&["s", "s", "'a'", "'ab'", "''"]);
    if depth == 0 {
        return leaf;
    }
    let (a, b) = (text(depth - 1), text(depth - 1));
    prop_oneof![
        2 => leaf,
        1 => (a.clone(), b.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
        1 => a.clone().prop_map(|a| format!("upper({a})")),
        1 => (a.clone(), 1..4, 0..3).prop_map(|(a, from, count)| format!("substr({a}, {from}, {count})")),
        1 => (a, b).prop_map(|(a, b)| format!("coalesce({a}, {b}, 'none')")),
        1 => whole(depth - 1).prop_map(|a| format!("CAST({a} AS VARCHAR)")),
    ]
    .boxed()
}

fn day(depth: u32) -> BoxedStrategy<String> {
    let leaf = one_of(&["d", "d", "DATE '2018-06-20'", "CAST(at AS DATE)"]);
    if depth == 0 {
        return leaf;
    }
    prop_oneof![
        2 => leaf,
        1 => (day(depth - 1), -40..40).prop_map(|(d, days)| format!("({d} + INTERVAL '{days} days')")),
        1 => day(depth - 1).prop_map(|d| format!("date_trunc('month', {d})")),
    ]
    .boxed()
}

fn truth(depth: u32) -> BoxedStrategy<String> {
    let leaf =
        one_of(&["f", "k > 3", "s LIKE 'a%'", "y < 60", "i IS NULL", "x > 0", "x IS NOT NULL", "s IN ('a', 'ab', '')"]);
    if depth == 0 {
        return leaf;
    }
    let (a, b) = (truth(depth - 1), truth(depth - 1));
    let compare = || one_of(&["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM"]);
    prop_oneof![
        2 => leaf,
        2 => (a.clone(), one_of(&["AND", "OR"]), b).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => a.prop_map(|a| format!("NOT {a}")),
        2 => (whole(depth - 1), compare(), whole(depth - 1)).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => (text(depth - 1), compare(), text(depth - 1)).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => (real(depth - 1), compare(), real(depth - 1)).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => (day(depth - 1), compare(), day(depth - 1)).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => (whole(depth - 1), whole(depth - 1)).prop_map(|(a, b)| format!("({a} IN (1, 2, NULL, {b}))")),
    ]
    .boxed()
}

fn query() -> BoxedStrategy<String> {
    let key = || prop_oneof![one_of(&["k", "s", "f", "k % 2", "upper(s)"]), whole(1)].boxed();
    let rows = (whole(2), real(2), text(2), truth(2), day(1), truth(2)).prop_map(|(a, b, c, d, e, only)| {
        format!("SELECT id, {a} AS a, {b} AS b, {c} AS c, {d} AS d, {e} AS e FROM t WHERE {only}")
    });
    let groups = (key(), whole(1), real(1), text(1), day(1), truth(1)).prop_map(|(key, a, b, c, e, only)| {
        format!(
            "SELECT {key} AS key, count(*) AS n, count({a}) AS m, sum({a}) AS a, avg({b}) AS b, min({c}) AS c, \
             max({e}) AS e, count(DISTINCT {c}) AS g, sum({a}) FILTER (WHERE {only}) AS h FROM t GROUP BY {key}"
        )
    });
    let joins = (whole(1), text(1), truth(1), one_of(&["JOIN", "LEFT JOIN", "FULL JOIN"]), key()).prop_map(
        |(a, b, only, join, key)| {
            format!(
                "SELECT * FROM (SELECT id, {key} AS key, {a} AS a FROM t WHERE {only}) p \
                 {join} (SELECT id AS other, {key} AS key2, {b} AS b FROM u) q ON p.key = q.key2"
            )
        },
    );
    let windows = (key(), whole(1), real(1), text(1)).prop_map(|(key, a, b, c)| {
        format!(
            "SELECT id, sum({a}) OVER (PARTITION BY {key} ORDER BY id) AS a, avg({b}) OVER (PARTITION BY {key}) AS b, \
             lag({c}) OVER (PARTITION BY {key} ORDER BY id DESC) AS c, rank() OVER (ORDER BY {a}) AS d, \
             min({a}) OVER (PARTITION BY {key} ORDER BY id ROWS UNBOUNDED PRECEDING) AS e FROM t"
        )
    });
    let orders = (whole(1), text(1), one_of(&["", "DESC", "NULLS FIRST", "DESC NULLS LAST"]), 1..60).prop_map(
        |(a, b, how, rows)| format!("SELECT id, {a} AS a, {b} AS b FROM t ORDER BY a {how}, b {how}, id LIMIT {rows}"),
    );
    let sets = (whole(1), text(1), truth(1), one_of(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])).prop_map(
        |(a, b, only, set)| format!("SELECT {a} AS a, {b} AS b FROM t {set} SELECT {a}, {b} FROM u WHERE {only}"),
    );
    prop_oneof![3 => rows, 2 => groups, 2 => joins, 1 => windows, 1 => orders, 1 => sets].boxed()
}

#[tokio::test]
async fn generated_queries_give_the_same() {
    let session = session();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let queries = query();
    let (mut wrong, mut unplanned, mut failed) = (Vec::new(), 0, 0);
    for _ in 0..QUERIES {
        let text = queries.new_tree(&mut runner).unwrap().current();
        match both(&session, &text, &Parameters::new()).await {
            // Types that do not fit each other; that is not what this is about.
            Err(_) => unplanned += 1,
            Ok(both) => {
                failed += usize::from(both.datafusion.is_err());
                wrong.extend(both.difference().map(|told| format!("{text}\n  {told}")));
            }
        }
    }
    println!("{QUERIES} queries, {unplanned} of them of types that do not fit, {failed} that fail");
    assert!(
        (unplanned + failed) * 5 < QUERIES,
        "{unplanned} queries did not plan, {failed} failed: little is compared"
    );
    assert!(wrong.is_empty(), "{} of {QUERIES} differ:\n{}", wrong.len(), wrong.join("\n"));
}
