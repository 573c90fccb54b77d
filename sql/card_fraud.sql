-- Is a card transaction fraudulent? The features of the Fraud Detection Handbook: what the customer usually
-- does (count and mean amount of the last 1, 7 and 30 days, this transaction included), and how risky the
-- terminal has been (count and share of frauds of 1, 7 and 30 days, which end 7 days ago: no fraud is known
-- earlier than that).
--
-- Frames count whole seconds: one day is the current second and the 86,399 before it. A delayed frame is the
-- difference of two frames that end now: the 8 days minus the 7 days of the delay, whose labels may still be NULL.
-- Amounts are summed in whole millionths (NULL for what is no number). A sum of floats depends on the order of its
-- rows, which is not fixed within a second, so two runs might differ in the last digit.
-- 38 days of history are read before the interval: 37 that the longest frame needs, and one to spare.
WITH tx AS (
  SELECT
    transaction_id, tx_datetime, customer_id, terminal_id, tx_amount, tx_fraud,
    CAST(extract(epoch FROM tx_datetime) AS BIGINT) AS second,
    TRY_CAST(round(tx_amount * 1000000) AS BIGINT) AS millionths
  FROM transactions
  WHERE tx_datetime >= $interval_start - INTERVAL '38 days' AND tx_datetime < $interval_end
    -- The same bounds on the partition column, so that other days' files are not opened.
    AND tx_date >= CAST($interval_start - INTERVAL '38 days' AS DATE)
    AND tx_date <= CAST($interval_end - INTERVAL '1 microsecond' AS DATE)
),
windows AS (
  SELECT
    transaction_id, tx_datetime, customer_id, terminal_id, tx_amount, tx_fraud,
    count(*) OVER customer_1 AS customer_count_1d,
    sum(millionths) OVER customer_1 / (1000000.0 * count(millionths) OVER customer_1) AS customer_mean_amount_1d,
    count(*) OVER customer_7 AS customer_count_7d,
    sum(millionths) OVER customer_7 / (1000000.0 * count(millionths) OVER customer_7) AS customer_mean_amount_7d,
    count(*) OVER customer_30 AS customer_count_30d,
    sum(millionths) OVER customer_30 / (1000000.0 * count(millionths) OVER customer_30) AS customer_mean_amount_30d,
    count(*) OVER terminal_8 - count(*) OVER terminal_7 AS terminal_count_1d,
    coalesce(sum(tx_fraud) OVER terminal_8, 0) - coalesce(sum(tx_fraud) OVER terminal_7, 0) AS terminal_frauds_1d,
    count(*) OVER terminal_14 - count(*) OVER terminal_7 AS terminal_count_7d,
    coalesce(sum(tx_fraud) OVER terminal_14, 0) - coalesce(sum(tx_fraud) OVER terminal_7, 0) AS terminal_frauds_7d,
    count(*) OVER terminal_37 - count(*) OVER terminal_7 AS terminal_count_30d,
    coalesce(sum(tx_fraud) OVER terminal_37, 0) - coalesce(sum(tx_fraud) OVER terminal_7, 0) AS terminal_frauds_30d
  FROM tx
  WINDOW
    customer_1 AS (PARTITION BY customer_id ORDER BY second RANGE BETWEEN 86399 PRECEDING AND CURRENT ROW),
    customer_7 AS (PARTITION BY customer_id ORDER BY second RANGE BETWEEN 604799 PRECEDING AND CURRENT ROW),
    customer_30 AS (PARTITION BY customer_id ORDER BY second RANGE BETWEEN 2591999 PRECEDING AND CURRENT ROW),
    terminal_7 AS (PARTITION BY terminal_id ORDER BY second RANGE BETWEEN 604799 PRECEDING AND CURRENT ROW),
    terminal_8 AS (PARTITION BY terminal_id ORDER BY second RANGE BETWEEN 691199 PRECEDING AND CURRENT ROW),
    terminal_14 AS (PARTITION BY terminal_id ORDER BY second RANGE BETWEEN 1209599 PRECEDING AND CURRENT ROW),
    terminal_37 AS (PARTITION BY terminal_id ORDER BY second RANGE BETWEEN 3196799 PRECEDING AND CURRENT ROW)
)
SELECT
  transaction_id, tx_datetime, customer_id, tx_fraud,
  tx_amount,
  extract(isodow FROM tx_datetime) >= 6 AS weekend,
  extract(hour FROM tx_datetime) <= 6 AS night,
  customer_count_1d, customer_mean_amount_1d,
  customer_count_7d, customer_mean_amount_7d,
  customer_count_30d, customer_mean_amount_30d,
  terminal_count_1d,
  CASE WHEN terminal_count_1d > 0 THEN terminal_frauds_1d * 1.0 / terminal_count_1d ELSE 0.0 END AS terminal_fraud_share_1d,
  terminal_count_7d,
  CASE WHEN terminal_count_7d > 0 THEN terminal_frauds_7d * 1.0 / terminal_count_7d ELSE 0.0 END AS terminal_fraud_share_7d,
  terminal_count_30d,
  CASE WHEN terminal_count_30d > 0 THEN terminal_frauds_30d * 1.0 / terminal_count_30d ELSE 0.0 END AS terminal_fraud_share_30d
FROM windows
WHERE tx_datetime >= $interval_start
