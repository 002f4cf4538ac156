-- Forgets the first ?2 keys that are over at ?1 and whose commands have ended.
DELETE FROM dedup
WHERE (mode, key) IN (SELECT mode, key FROM dedup WHERE until_ms <= ?1 ORDER BY until_ms LIMIT ?2)
    AND (mode = 'throttle' OR NOT EXISTS (SELECT 1 FROM delivery d WHERE d.command_id = dedup.command_id
        AND d.state IN ('available', 'running', 'scheduled', 'retryable')))
