-- What kind of customer is it? One row for each customer and day with a purchase, from what the customer bought in
-- the 30 days up to it. The segment is the label; it is NULL where nobody knows it, and there it is predicted.
-- Amounts are summed in whole millionths, since a sum of floats depends on the order of its rows.
WITH tx AS (
  SELECT transaction_id, tx_datetime, tx_date, customer_id, terminal_id, tx_amount
  FROM transactions
  WHERE tx_datetime >= $interval_start - INTERVAL '29 days' AND tx_datetime < $interval_end
    -- The same bounds on the partition column, so that other days' files are not opened.
    AND tx_date >= CAST($interval_start - INTERVAL '29 days' AS DATE)
    AND tx_date <= CAST($interval_end - INTERVAL '1 microsecond' AS DATE)
),
daily AS (
  SELECT
    tx.customer_id,
    tx.tx_date,
    max(tx.tx_datetime) AS last_purchase,
    last_value(t.category ORDER BY tx.tx_datetime, tx.transaction_id) AS last_category,
    count(*) AS purchases,
    sum(TRY_CAST(round(tx.tx_amount * 1000000) AS BIGINT)) AS millionths,
    max(tx.tx_amount) AS largest,
    sum(CASE WHEN extract(hour FROM tx.tx_datetime) < 10 THEN 1 ELSE 0 END) AS mornings,
    sum(CASE WHEN extract(hour FROM tx.tx_datetime) >= 18 AND extract(hour FROM tx.tx_datetime) < 22 THEN 1 ELSE 0 END) AS evenings,
    sum(CASE WHEN extract(hour FROM tx.tx_datetime) >= 22 OR extract(hour FROM tx.tx_datetime) < 4 THEN 1 ELSE 0 END) AS nights
  FROM tx
  JOIN terminals t ON t.terminal_id = tx.terminal_id
  GROUP BY tx.customer_id, tx.tx_date
),
monthly AS (
  SELECT
    customer_id, tx_date, last_purchase, last_category,
    sum(purchases) OVER month AS purchases,
    sum(millionths) OVER month AS millionths,
    max(largest) OVER month AS largest,
    sum(mornings) OVER month AS mornings,
    sum(evenings) OVER month AS evenings,
    sum(nights) OVER month AS nights
  FROM daily
  WINDOW month AS (PARTITION BY customer_id ORDER BY tx_date RANGE BETWEEN INTERVAL '29 days' PRECEDING AND CURRENT ROW)
)
SELECT
  m.customer_id, m.tx_date, m.last_purchase, c.segment,
  m.last_category,
  m.purchases,
  m.millionths / (1000000.0 * m.purchases) AS mean_amount,
  m.largest,
  m.mornings * 1.0 / m.purchases AS morning_share,
  m.evenings * 1.0 / m.purchases AS evening_share,
  m.nights * 1.0 / m.purchases AS night_share
FROM monthly m
JOIN customers c ON c.customer_id = m.customer_id
WHERE m.last_purchase >= $interval_start
