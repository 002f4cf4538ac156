-- When the next delay ends, and when the next lease.
SELECT (SELECT min(run_at_ms) FROM @.delivery WHERE state IN ('scheduled', 'retryable')),
    (SELECT min(lease_until_ms) FROM @.delivery WHERE state = 'running')
