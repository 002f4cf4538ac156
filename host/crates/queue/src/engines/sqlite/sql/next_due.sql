-- When the next delay ends, the next lease, and the next pause after ?1.
SELECT (SELECT min(run_at_ms) FROM delivery WHERE state IN ('scheduled', 'retryable')),
    (SELECT min(lease_until_ms) FROM delivery WHERE state = 'running'),
    (SELECT min(until_ms) FROM pause WHERE until_ms > ?1)
