SELECT transaction_id, tx_datetime, customer_id, tx_amount, tx_fraud
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
