-- The command that the key $2 of the mode $1 names, until when, how many deliveries it has, and
-- how many of them have not ended and not begun. These are locked.
SELECT k.command_id, k.until_ms, count(d.seq),
    count(d.seq) FILTER (WHERE d.state IN ('available', 'running', 'scheduled', 'retryable')),
    count(d.seq) FILTER (WHERE d.state IN ('available', 'scheduled') AND d.attempt = 0)
FROM @.dedup k LEFT JOIN @.delivery d ON d.command_id = k.command_id
WHERE k.mode = $1 AND k.key = $2 GROUP BY k.command_id, k.until_ms
