-- Holds the lane of handler $1 and key $2 until $3. A new one comes from the sequence $4.
INSERT INTO @.lane AS l (handler, key, priority, turn, hold_ms, until_ms, parked)
VALUES ($1, $2, 0, nextval($4::text::regclass), $3, $3, true)
ON CONFLICT (handler, key) DO UPDATE SET hold_ms = greatest(l.hold_ms, $3),
    until_ms = greatest(l.until_ms, $3)
