-- The command that the key ?2 of the mode ?1 names, until when, how many deliveries it has, and
-- how many of them have not ended and not begun.
SELECT command_id, until_ms,
    (SELECT count(*) FROM delivery d WHERE d.command_id = k.command_id),
    (SELECT count(*) FROM delivery d WHERE d.command_id = k.command_id
        AND d.state IN ('available', 'running', 'scheduled', 'retryable')),
    (SELECT count(*) FROM delivery d WHERE d.command_id = k.command_id
        AND d.state IN ('available', 'scheduled') AND d.attempt = 0)
FROM dedup k WHERE mode = ?1 AND key = ?2
