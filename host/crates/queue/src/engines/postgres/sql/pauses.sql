-- The pauses in force at $1; the one of all handlers first.
SELECT handler, since_ms, until_ms, paused_by, reason FROM @.pause
WHERE until_ms IS NULL OR until_ms > $1 ORDER BY handler
