-- When the next delay ends, the next lease, and the next pause after $1; when the next lane is no
-- longer held, and whether there is something to take with a key or of the handlers $2.
SELECT (SELECT min(run_at_ms) FROM @.delivery WHERE state IN ('scheduled', 'retryable')),
    (SELECT min(lease_until_ms) FROM @.delivery WHERE state = 'running'),
    (SELECT min(until_ms) FROM @.pause WHERE until_ms > $1),
    (SELECT min(until_ms) FROM @.lane WHERE until_ms IS NOT NULL AND NOT parked),
    EXISTS (SELECT 1 FROM @.lane WHERE until_ms IS NULL) OR EXISTS (
        SELECT 1 FROM unnest($2::text[]) AS f (handler) CROSS JOIN LATERAL (
            SELECT 1 FROM @.delivery d WHERE d.state = 'available' AND NOT d.blocked
                AND d.key IS NULL AND d.handler = f.handler LIMIT 1) one)
