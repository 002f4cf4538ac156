-- The handler and state of every unfinished delivery: each part is answered from one partial index.
SELECT handler, 'available' AS state FROM delivery WHERE state = 'available' AND blocked = 0 AND key IS NULL
UNION ALL SELECT handler, 'available' FROM delivery WHERE state = 'available' AND blocked = 0 AND key IS NOT NULL
UNION ALL SELECT handler, state FROM delivery WHERE ordering_key IS NOT NULL AND blocked = 1
    AND state IN ('available', 'running', 'scheduled', 'retryable') AND state = 'available'
UNION ALL SELECT handler, state FROM delivery WHERE state IN ('scheduled', 'retryable')
UNION ALL SELECT handler, 'running' FROM delivery WHERE state = 'running'
