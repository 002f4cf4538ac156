-- When the next delay ends, or the next lease where $1 says that leases count.
SELECT least((SELECT min(run_at_ms) FROM @.delivery WHERE state IN ('scheduled', 'retryable')),
    CASE WHEN $1 THEN (SELECT min(lease_until_ms) FROM @.delivery WHERE state = 'running') END)
