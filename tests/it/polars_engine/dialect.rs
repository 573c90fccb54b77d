//! Where SQL dialects are known to differ, both engines give the same.

use super::assert_same;
use super::tables::session;
use lakemill::interval::Interval;
use lakemill::query::{Parameters, Value};

fn parameters() -> Parameters {
    let day: Interval = "2018-06-20".parse().unwrap();
    Parameters::of_interval(&day).with("least", Value::Float(10.5)).with("name", Value::Text("a%b".to_owned()))
}

#[tokio::test]
async fn scalars() {
    let texts = [
        // Integers divide to integers; the remainder has the dividend's sign.
        "SELECT id, i / 7 AS q, i % 7 AS r, -i / 7 AS m, n / 3 AS u, small * 2 AS s, i / 7.0 AS e FROM t",
        "SELECT id, x / y AS q, y / 0.0 AS z, x * 0 AS n, x % 2 AS r FROM t",
        "SELECT id / (id - id) AS q FROM t",
        "SELECT id, 1 / nullif(k, 0) AS q FROM t",
        // NaN and zeros with a sign.
        "SELECT id, x > 1 AS a, x = x AS b, x < 0 AS c, x = 0.0 AS d, x <> x AS e, x >= 'NaN'::DOUBLE AS g FROM t",
        "SELECT id FROM t WHERE x > 1.0",
        "SELECT id FROM t WHERE x = 'NaN'::DOUBLE OR x = 0",
        "SELECT id, isnan(x) AS a, nanvl(x, 1.0) AS b, iszero(x) AS c FROM t",
        // Three-valued logic.
        "SELECT id, f AND k > 3 AS a, f OR k > 3 AS b, NOT f AS c, f IS TRUE AS d, f IS NOT FALSE AS e, f IS UNKNOWN AS g FROM t",
        "SELECT id, k IN (1, 2) AS a, k NOT IN (1, 2) AS b, k IN (1, NULL) AS c, k NOT IN (1, NULL) AS d FROM t",
        "SELECT id FROM t WHERE k NOT IN (1, NULL)",
        "SELECT id FROM t WHERE NOT (k = 3) OR s IS NULL",
        "SELECT id, k IS DISTINCT FROM i AS a, k IS NOT DISTINCT FROM NULL AS b FROM t",
        "SELECT id, coalesce(k, i, 0) AS a, nullif(k, 3) AS b, greatest(k, i) AS c, least(k, i, 5) AS d FROM t",
        "SELECT id, CASE WHEN k > 3 THEN 'much' WHEN k > 1 THEN 'some' END AS a, CASE k WHEN 1 THEN 1.5 ELSE id END AS b FROM t",
        "SELECT id, k BETWEEN 2 AND 4 AS a, k NOT BETWEEN 4 AND 2 AS b, s BETWEEN 'A' AND 'b' AS c FROM t",
        // Text.
        "SELECT id, s LIKE 'a%' AS a, s LIKE '%_%' AS b, s LIKE 'a\\%b' AS c, s ILIKE 'A%' AS d, s NOT LIKE '%b' AS e, s LIKE '' AS g FROM t",
        "SELECT id, substr(s, 2) AS a, substr(s, 1, 1) AS b, substr(s, -1, 3) AS c, left(s, 1) AS d, right(s, 2) AS e FROM t",
        "SELECT id, length(s) AS a, octet_length(s) AS b, upper(s) AS c, trim(s) AS d, s || '-' || k AS e, concat(s, k, NULL) AS g FROM t",
        "SELECT id, replace(s, 'a', 'xx') AS a, reverse(s) AS b, lpad(s, 4, '*') AS c, position('b' IN s) AS d, strpos(s, 'r') AS e FROM t",
        "SELECT id, s < 'a' AS a, s > $name AS b, split_part(s, '%', 2) AS c, regexp_replace(s, '[ab]', 'c') AS d, md5(s) AS e FROM t",
        "SELECT id, starts_with(s, 'a') AS a, ends_with(s, 'b') AS b, ascii(s) AS c, initcap(s) AS d, repeat(s, 2) AS e FROM t",
        // Numbers.
        "SELECT id, round(y) AS a, round(-y) AS b, round(y, 1) AS c, trunc(-y) AS d, floor(-y) AS e, ceil(y) AS g, abs(i) AS h, sqrt(y) AS j FROM t",
        "SELECT id, power(y, 2) AS a, exp(k) AS b, ln(y) AS c, log(10, y) AS d, signum(x) AS e, cot(y) AS g, atan2(y, k) AS h FROM t",
        // Casts.
        "SELECT id, CAST(y AS BIGINT) AS a, CAST(k AS VARCHAR) AS b, CAST(d AS VARCHAR) AS c, CAST(f AS INT) AS d, CAST(k AS BOOLEAN) AS e FROM t",
        "SELECT id, TRY_CAST(s AS BIGINT) AS a, TRY_CAST(x AS INT) AS b, CAST(y AS DECIMAL(10, 2)) > 12.5 AS c, z + y AS e FROM t",
        "SELECT id, CAST(at AS DATE) AS a, CAST(d AS TIMESTAMP) AS b, arrow_typeof(small) AS c, small + 1 AS e, CAST(id AS TINYINT) AS g FROM t WHERE id < 100",
        "SELECT CAST(s AS BIGINT) AS a FROM t",
        "SELECT id, NULL AS nothing, 1 AS one, 'x' AS text, 1.5 AS y, TRUE AS yes, DATE '2018-06-20' AS day FROM t",
        "SELECT 1 AS one",
        "SELECT 1 AS one FROM t",
        "SELECT column1 + 1 AS a, column2 AS b FROM (VALUES (1, 'x'), (2, NULL), (NULL, 'y'))",
    ];
    assert_same(&session(), &texts, &parameters()).await;
}

#[tokio::test]
async fn times() {
    let texts = [
        "SELECT id, extract(hour FROM at) AS a, extract(dow FROM at) AS b, extract(isodow FROM at) AS c, extract(epoch FROM at) AS d FROM t",
        "SELECT id, date_part('week', d) AS a, date_part('doy', d) AS b, date_part('quarter', d) AS c, extract(year FROM d) AS e FROM t",
        "SELECT id, date_trunc('day', at) AS a, date_trunc('week', at) AS b, date_trunc('month', d) AS c, date_trunc('hour', local) AS e FROM t",
        "SELECT id, at + INTERVAL '1 day' AS a, at - INTERVAL '90 minutes' AS b, d + INTERVAL '1 month' AS c, d - 1 AS e FROM t",
        "SELECT id, at - local AS a, at > local AS b, at = d AS c, at - INTERVAL '1 second' < at AS e FROM t",
        "SELECT id FROM t WHERE at >= $interval_start AND at < $interval_end",
        "SELECT id FROM t WHERE at >= $interval_start - INTERVAL '2' DAY AND local < $interval_end",
        "SELECT id FROM t WHERE d >= CAST($interval_start AS DATE) - 100 OR d IS NULL",
        "SELECT id, to_timestamp(k) AS a, make_date(2018, 6, 20) AS b, to_char(d, '%Y/%m') AS c, date_bin(INTERVAL '6 hours', at) AS e FROM t",
        "SELECT id, at AT TIME ZONE 'America/New_York' AS a, extract(hour FROM at AT TIME ZONE 'America/New_York') AS b FROM t",
        "SELECT count(*) AS n FROM t WHERE at AT TIME ZONE 'America/New_York' > TIMESTAMP '2018-06-19T20:00:00'",
        "SELECT date_trunc('day', at) AS day, count(*) AS n, min(local) AS first, max(d) AS last FROM t GROUP BY 1",
    ];
    assert_same(&session(), &texts, &parameters()).await;
}

#[tokio::test]
async fn aggregates() {
    let texts = [
        "SELECT k, count(*) AS n, count(i) AS c, sum(i) AS s, avg(i) AS a, min(i) AS lo, max(i) AS hi FROM t GROUP BY k",
        "SELECT count(*) AS n, count(i) AS c, sum(i) AS s, avg(y) AS a, min(s) AS lo, max(s) AS hi, sum(n) AS u FROM t",
        "SELECT count(*) AS n, count(i) AS c, sum(i) AS s, avg(y) AS a, min(s) AS lo, max(x) AS hi, stddev(y) AS d FROM none",
        "SELECT k, count(*) AS n FROM none GROUP BY k",
        "SELECT k, sum(x) AS s, avg(x) AS a, min(x) AS lo, max(x) AS hi FROM t WHERE NOT isnan(x) GROUP BY k",
        "SELECT min(x) AS lo, max(x) AS hi FROM t",
        "SELECT x, count(*) AS n FROM t WHERE x <> 0 GROUP BY x",
        "SELECT k, stddev(y) AS a, stddev_pop(y) AS b, var(y) AS c, var_pop(y) AS d, var_samp(y) AS e FROM t GROUP BY k",
        "SELECT k, count(DISTINCT s) AS a, count(DISTINCT x) AS b, count(DISTINCT f) AS c FROM t GROUP BY k",
        "SELECT count(DISTINCT s) AS a, sum(y) AS b FROM t",
        "SELECT s, f, sum(y) FILTER (WHERE k > 2) AS a, count(*) FILTER (WHERE f) AS b, min(d) FILTER (WHERE d > DATE '1990-01-01') AS c FROM t GROUP BY s, f",
        "SELECT k, bool_and(f) AS a, bool_or(f) AS b, min(f) AS c, max(at) AS d, min(z) AS e, sum(z) AS g FROM t GROUP BY k",
        "SELECT k, first_value(s ORDER BY id) AS a, last_value(s ORDER BY id) AS b, last_value(i ORDER BY y NULLS FIRST, id DESC) AS c FROM t GROUP BY k",
        "SELECT k % 2 AS odd, upper(s) AS s, sum(i * 2 + 1) + count(*) AS a FROM t GROUP BY k % 2, upper(s) HAVING count(*) > 2",
        "SELECT DISTINCT k, f FROM t",
        "SELECT DISTINCT s FROM t ORDER BY s NULLS FIRST",
        "SELECT sum(CASE WHEN f THEN 1 ELSE 0 END) AS a, sum(k) * 1.0 / count(*) AS b FROM t",
        "SELECT k AS a, k AS b, k + 1 AS c, count(*) AS n FROM t GROUP BY k",
    ];
    assert_same(&session(), &texts, &parameters()).await;
}

#[tokio::test]
async fn joins() {
    let texts = [
        "SELECT t.id, u.id AS other, t.s, u.y FROM t JOIN u ON t.k = u.k",
        "SELECT t.id, u.id AS other FROM t LEFT JOIN u ON t.k = u.k AND t.f = u.f",
        "SELECT t.id, u.id AS other FROM t LEFT JOIN u ON t.i = u.i AND t.f IS NOT NULL",
        "SELECT t.id, u.id AS other FROM t LEFT JOIN u ON t.i = u.i AND u.k > 2",
        "SELECT t.id, u.id AS other FROM t RIGHT JOIN u ON t.i = u.i",
        "SELECT t.id, u.id AS other, t.k, u.k AS k2 FROM t FULL JOIN u ON t.i = u.i",
        "SELECT t.id, u.id AS other FROM t JOIN u ON t.k = u.k AND t.y < u.y",
        "SELECT t.id, u.id AS other FROM t CROSS JOIN u WHERE t.y + u.y > 240",
        "SELECT a.id, b.id AS other FROM t a JOIN t b ON a.k = b.k AND a.id < b.id WHERE a.f",
        "SELECT t.id, u.s FROM t JOIN u ON t.s = u.s AND t.d > u.d",
        "SELECT id FROM t WHERE k IN (SELECT k FROM u WHERE f)",
        "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.f)",
        "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.i = t.i)",
        "SELECT id, k, s FROM t JOIN u USING (id, k, s)",
        "SELECT t.id FROM t JOIN u ON t.x = u.x WHERE t.x <> 0",
        "WITH m AS (SELECT k, avg(y) AS mean FROM u GROUP BY k) SELECT t.id, t.y > m.mean AS above FROM t LEFT JOIN m ON m.k = t.k",
        "SELECT id, (SELECT count(*) FROM u WHERE u.i = t.i) AS n FROM t",
        "SELECT t.id FROM t CROSS JOIN (SELECT avg(y) AS mean FROM u) m WHERE t.y > m.mean",
        "SELECT k FROM t UNION SELECT k FROM u",
        "SELECT k, 'a' AS s FROM t UNION ALL SELECT i, s FROM u",
        "SELECT k FROM t INTERSECT SELECT k FROM u WHERE f",
        "SELECT i FROM t EXCEPT SELECT i FROM u",
    ];
    assert_same(&session(), &texts, &parameters()).await;
}

#[tokio::test]
async fn windows() {
    let texts = [
        "SELECT id, count(*) OVER (PARTITION BY k) AS n, sum(i) OVER (PARTITION BY k) AS s, avg(y) OVER () AS a, max(x) OVER (PARTITION BY s) AS m FROM t",
        "SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) AS a, row_number() OVER (ORDER BY y DESC, id) AS b FROM t",
        "SELECT id, rank() OVER (PARTITION BY k ORDER BY i) AS a, dense_rank() OVER (ORDER BY s NULLS FIRST) AS b, rank() OVER (ORDER BY d DESC NULLS LAST, f) AS c FROM t",
        "SELECT id, lag(i) OVER (PARTITION BY k ORDER BY id) AS a, lead(s, 2) OVER (ORDER BY id) AS b, lag(y, 1, 0.5) OVER (PARTITION BY f ORDER BY id DESC) AS c FROM t",
        "SELECT id, sum(i) OVER w AS a, count(i) OVER w AS b, avg(y) OVER w AS c, min(i) OVER w AS d, max(at) OVER w AS e FROM t WINDOW w AS (PARTITION BY k ORDER BY id)",
        "SELECT id, sum(i) OVER w AS a, count(*) OVER w AS b, max(d) OVER w AS c, min(x) OVER w AS d, max(x) OVER w AS e FROM t WINDOW w AS (PARTITION BY k ORDER BY i)",
        "SELECT id, sum(i) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS a, max(x) OVER (PARTITION BY f ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS b FROM t",
        "SELECT id, sum(i) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS a, count(DISTINCT s) OVER (PARTITION BY k) AS b FROM t",
        "SELECT * FROM (SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY at DESC NULLS LAST, id) AS place FROM t) WHERE place = 1",
        "SELECT id, y / sum(y) OVER (PARTITION BY k) AS share FROM t",
        // Whole numbers that no float holds.
        "SELECT id, sum(arrow_cast(9007199254740993 + id, 'UInt64')) OVER w AS a, sum(9007199254740993 + id) OVER w AS b FROM t WINDOW w AS (ORDER BY id)",
        "SELECT id, sum(n) OVER (PARTITION BY k ORDER BY id) AS a, avg(n) OVER (ORDER BY id) AS b FROM t",
    ];
    assert_same(&session(), &texts, &parameters()).await;
}

#[tokio::test]
async fn orders() {
    let texts = [
        "SELECT id, k FROM t ORDER BY k, id",
        "SELECT id, k FROM t ORDER BY k DESC, id",
        "SELECT id, k FROM t ORDER BY k NULLS FIRST, id DESC",
        "SELECT id, x FROM t WHERE x <> 0 ORDER BY x, id",
        "SELECT id, x FROM t WHERE x <> 0 ORDER BY x DESC NULLS LAST, id",
        "SELECT id, s FROM t ORDER BY s, f NULLS FIRST, id LIMIT 17",
        "SELECT id, y FROM t ORDER BY y + k DESC, id LIMIT 5 OFFSET 3",
        "SELECT count(*) AS n FROM (SELECT id FROM t LIMIT 11)",
        "SELECT count(*) AS n FROM t",
        "SELECT id FROM t WHERE FALSE ORDER BY id",
        "SELECT id, d, at FROM t ORDER BY d DESC, at, id",
    ];
    assert_same(&session(), &texts, &parameters()).await;
}
