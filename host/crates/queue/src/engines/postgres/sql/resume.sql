-- Ends the pause of handler $1, or all pauses where it is NULL.
DELETE FROM @.pause WHERE $1::text IS NULL OR handler = $1
RETURNING handler, since_ms, until_ms, paused_by, reason
