-- Makes available what is due by $1, $2 at most, past the locks of others. What was scheduled with
-- an ordering key enters its line only now: blocked, until its place is known.
UPDATE @.delivery SET state = 'available',
    blocked = blocked OR state = 'scheduled' AND ordering_key IS NOT NULL
WHERE seq IN (
    SELECT seq FROM @.delivery WHERE state IN ('scheduled', 'retryable') AND run_at_ms <= $1
    ORDER BY run_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING seq, handler, ordering_key, run_at_ms, position, blocked
