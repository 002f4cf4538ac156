-- How many deliveries of each handler are in each state. Each part has its partial index: what is
-- finished is not read.
SELECT handler, state, count(*) FROM (
    SELECT handler, state FROM @.delivery WHERE state = 'available' AND NOT blocked AND key IS NULL
    UNION ALL SELECT handler, state FROM @.delivery WHERE state = 'available' AND NOT blocked
        AND key IS NOT NULL
    UNION ALL SELECT handler, state FROM @.delivery WHERE state = 'available' AND blocked
        AND ordering_key IS NOT NULL
    UNION ALL SELECT handler, state FROM @.delivery WHERE state IN ('scheduled', 'retryable')
    UNION ALL SELECT handler, state FROM @.delivery WHERE state = 'running'
    UNION ALL SELECT handler, state FROM @.delivery WHERE state = 'discarded') open
GROUP BY 1, 2 ORDER BY 1, 2
