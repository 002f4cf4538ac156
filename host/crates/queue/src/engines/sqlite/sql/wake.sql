-- Makes delivery ?1 available, which is due. What was scheduled with an ordering key enters its line
-- only now: blocked, until its place is known.
UPDATE delivery SET state = 'available',
    blocked = blocked OR (state = 'scheduled' AND ordering_key IS NOT NULL)
WHERE seq = ?1
RETURNING run_at_ms, position, seq, blocked
