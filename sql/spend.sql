-- How much will be spent? From who pays (segment, and what the customer paid in the 30 days before), where
-- (category of the terminal, and how far from home), and when.
--
-- The frame ends one second before the transaction: its own amount is what is to be predicted. Amounts are summed in
-- whole millionths, since a sum of floats depends on the order of its rows.
WITH tx AS (
  SELECT
    transaction_id, tx_datetime, customer_id, terminal_id, tx_amount,
    TRY_CAST(round(tx_amount * 1000000) AS BIGINT) AS millionths
  FROM transactions
  WHERE tx_datetime >= $interval_start - INTERVAL '30 days' AND tx_datetime < $interval_end
    -- The same bounds on the partition column, so that other days' files are not opened.
    AND tx_date >= CAST($interval_start - INTERVAL '30 days' AS DATE)
    AND tx_date <= CAST($interval_end - INTERVAL '1 microsecond' AS DATE)
),
before AS (
  SELECT
    transaction_id, tx_datetime, customer_id, terminal_id, tx_amount,
    count(*) OVER earlier AS customer_count_30d,
    sum(millionths) OVER earlier / (1000000.0 * count(millionths) OVER earlier) AS customer_mean_amount_30d
  FROM tx
  WINDOW earlier AS (
    PARTITION BY customer_id ORDER BY tx_datetime
    RANGE BETWEEN INTERVAL '30 days' PRECEDING AND INTERVAL '1 second' PRECEDING
  )
)
SELECT
  b.transaction_id, b.tx_datetime, b.customer_id, b.tx_amount,
  c.segment,
  t.category,
  -- NULL for a customer's first transaction.
  b.customer_count_30d, b.customer_mean_amount_30d,
  sqrt((c.x - t.x) * (c.x - t.x) + (c.y - t.y) * (c.y - t.y)) AS distance,
  extract(hour FROM b.tx_datetime) AS hour,
  extract(isodow FROM b.tx_datetime) >= 6 AS weekend
FROM before b
JOIN customers c ON c.customer_id = b.customer_id
JOIN terminals t ON t.terminal_id = b.terminal_id
WHERE b.tx_datetime >= $interval_start
