-- What handler $1 has for itself: its bucket is full at $2, kept until $3, after a turn where $4
-- says so. Turns come from the sequence $5.
INSERT INTO @.lane AS l (handler, key, priority, turn, full_ns, until_ms, parked)
VALUES ($1, '', 0, nextval($5::text::regclass), $2, $3, true)
ON CONFLICT (handler, key) DO UPDATE SET full_ns = $2, until_ms = $3,
    turn = CASE WHEN $4 THEN excluded.turn ELSE l.turn END
