-- The deliveries of command ?1 that wait, with their handlers and states.
SELECT seq, handler, state FROM delivery
WHERE command_id = ?1 AND state IN ('available', 'scheduled', 'retryable')
