-- Is a card transaction fraudulent? What is known of the transaction itself; the windows over the customer's and the
-- terminal's transactions are declared in the job.
SELECT
  transaction_id, tx_datetime, customer_id, terminal_id, tx_fraud,
  tx_amount,
  extract(isodow FROM tx_datetime) >= 6 AS weekend,
  extract(hour FROM tx_datetime) <= 6 AS night
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
  -- The same bounds on the partition column, so that other days' files are not opened.
  AND tx_date >= CAST($interval_start AS DATE)
  AND tx_date <= CAST($interval_end - INTERVAL '1 microsecond' AS DATE)
