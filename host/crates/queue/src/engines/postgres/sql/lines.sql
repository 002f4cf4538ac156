-- Those of the dead letters $1 that have an ordering key, with it.
SELECT seq, handler, ordering_key FROM @.delivery
WHERE seq = ANY ($1) AND state = 'discarded' AND ordering_key IS NOT NULL
