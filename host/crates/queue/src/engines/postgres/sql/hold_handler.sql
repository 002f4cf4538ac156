-- Pauses handler $1 at $2 until $3, by $4 for the reason $5, where no one else did.
INSERT INTO @.pause AS p (handler, since_ms, until_ms, paused_by, reason) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (handler) DO UPDATE SET until_ms = greatest(p.until_ms, $3), paused_by = $4, reason = $5,
    since_ms = CASE WHEN p.until_ms <= $2 THEN $2 ELSE p.since_ms END
WHERE p.until_ms <= $2 OR p.paused_by = $4 AND p.until_ms IS NOT NULL
