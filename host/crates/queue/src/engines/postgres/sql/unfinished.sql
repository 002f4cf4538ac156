-- How many deliveries have not ended, counted up to $1.
SELECT count(*) FROM (SELECT 1 FROM @.delivery
    WHERE state IN ('available', 'running', 'scheduled', 'retryable') LIMIT $1) open
