-- Ends the attempt of row $1: its new state $2, output $3, $4 attempts given back, next run at $5
-- where it has one, failures $6 to $9, ended at $10 where it did. Its row is locked.
UPDATE @.delivery SET state = $2, output = $3, attempt = attempt - $4, run_at_ms = coalesce($5, run_at_ms),
    transient = transient + $6, trap = trap + $7, timeout = timeout + $8, memory = memory + $9,
    finished_ms = $10, lease_until_ms = NULL, lease_token = NULL
WHERE seq = $1
