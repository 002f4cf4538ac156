-- Puts the dead letter $1 back at the next place of the sequence $3, due from $2, blocked where it
-- has an ordering key.
UPDATE @.delivery SET state = 'available', position = nextval($3::text::regclass), run_at_ms = $2,
    transient = 0, trap = 0, timeout = 0, memory = 0, hosts_lost = 0,
    finished_ms = NULL, blocked = ordering_key IS NOT NULL
WHERE seq = $1 AND state = 'discarded'
RETURNING command_id
