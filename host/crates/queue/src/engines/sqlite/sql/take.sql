-- Leases delivery ?1 until ?2 under the token ?3, at ?4.
UPDATE delivery SET state = 'running', attempt = attempt + 1, started_ms = ?4, lease_until_ms = ?2, lease_token = ?3
WHERE seq = ?1
RETURNING command_id, handler, attempt, transient, trap, timeout, memory
