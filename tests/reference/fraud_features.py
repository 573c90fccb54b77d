"""Compares the card fraud features that lakemill computes with those that DuckDB computes, row by row.

usage: fraud_features.py LAKE INTERVAL FEATURES.parquet       needs: duckdb, numpy, pyarrow

LAKE has the table `transactions` (only appended to), partitioned by tx_date; INTERVAL is a day, or START/END (half-open);
FEATURES.parquet is the result of sql/card_fraud.sql for it:
`lakemill query sql/card_fraud.sql --job jobs/card_fraud.toml --interval INTERVAL --format parquet --out FEATURES.parquet`.
Counts, shares and flags must be equal; means may differ by rounding, and the largest relative difference is printed.
The SQL here is written on epoch seconds and one scan of all rows, so that it shares nothing with the shipped one.
"""
import datetime
import sys

import duckdb
import numpy as np

SQL = """
with tx as (select *, epoch(tx_datetime)::bigint as s from read_parquet('{lake}/transactions/*/*.parquet', hive_partitioning = true)
            where tx_datetime < '{end}'::timestamptz),
f as (select transaction_id, customer_id, tx_datetime, tx_fraud, tx_amount,
  isodow(tx_datetime) >= 6 as weekend, hour(tx_datetime) <= 6 as night,
  count(*) over c1 as customer_count_1d, avg(tx_amount) over c1 as customer_mean_amount_1d,
  count(*) over c7 as customer_count_7d, avg(tx_amount) over c7 as customer_mean_amount_7d,
  count(*) over c30 as customer_count_30d, avg(tx_amount) over c30 as customer_mean_amount_30d,
  count(*) over t1 as terminal_count_1d, coalesce(avg(tx_fraud) over t1, 0) as terminal_fraud_share_1d,
  count(*) over t7 as terminal_count_7d, coalesce(avg(tx_fraud) over t7, 0) as terminal_fraud_share_7d,
  count(*) over t30 as terminal_count_30d, coalesce(avg(tx_fraud) over t30, 0) as terminal_fraud_share_30d
  from tx window
  c1 as (partition by customer_id order by s range between 86399 preceding and current row),
  c7 as (partition by customer_id order by s range between 604799 preceding and current row),
  c30 as (partition by customer_id order by s range between 2591999 preceding and current row),
  t1 as (partition by terminal_id order by s range between 691199 preceding and 604800 preceding),
  t7 as (partition by terminal_id order by s range between 1209599 preceding and 604800 preceding),
  t30 as (partition by terminal_id order by s range between 3196799 preceding and 604800 preceding))
select * from f where tx_datetime >= '{start}'::timestamptz order by transaction_id"""

lake, interval, features = sys.argv[1:4]
start, _, end = interval.partition("/")
end = end or str(datetime.date.fromisoformat(start) + datetime.timedelta(days=1))
con = duckdb.connect()
con.execute("set TimeZone = 'UTC'")
want = con.sql(SQL.format(lake=lake, start=start, end=end)).to_arrow_table()
got = con.sql(f"select * from read_parquet('{features}') order by transaction_id").to_arrow_table()
assert got.num_rows == want.num_rows, f"{got.num_rows} rows, not {want.num_rows}"
assert set(got.column_names) == set(want.column_names), set(got.column_names) ^ set(want.column_names)
failed = False
for name in want.column_names:
    if name == "tx_datetime":
        same = want[name].cast("int64").equals(got[name].cast("int64"))
        worst = 0.0 if same else np.inf
    else:
        a = np.asarray(want[name].to_numpy(), dtype=np.float64)
        b = np.asarray(got[name].to_numpy(), dtype=np.float64)
        worst = float(np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-300), where=a != b, initial=0.0))
    limit = 1e-9 if "mean" in name else 0.0
    failed |= worst > limit
    print(f"{name:30} largest relative difference {worst:.1e}{'  TOO LARGE' if worst > limit else ''}")
print(f"{got.num_rows} rows: {'differ' if failed else 'equal'}")
sys.exit(failed)
