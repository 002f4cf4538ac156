-- Puts the dead letter ?1 back at the place ?2, due from ?3, blocked where it has an ordering key.
UPDATE delivery SET state = 'available', position = ?2, run_at_ms = ?3,
    transient = 0, trap = 0, timeout = 0, memory = 0, hosts_lost = 0,
    finished_ms = NULL, blocked = ordering_key IS NOT NULL
WHERE seq = ?1
RETURNING command_id, handler
