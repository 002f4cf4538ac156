-- Keeps, until $2, those of the first $3 keys that are over at $1 whose commands have not ended.
UPDATE @.dedup SET until_ms = $2
WHERE (mode, key) IN (SELECT mode, key FROM @.dedup WHERE until_ms <= $1 ORDER BY until_ms LIMIT $3)
    AND mode <> 'throttle' AND EXISTS (SELECT 1 FROM @.delivery d WHERE d.command_id = dedup.command_id
        AND d.state IN ('available', 'running', 'scheduled', 'retryable'))
