-- Calls off at $2 what waits of command $1.
UPDATE @.delivery SET state = 'cancelled', finished_ms = $2
WHERE command_id = $1 AND state IN ('available', 'scheduled', 'retryable')
RETURNING seq, handler, ordering_key
