-- Leases delivery ?1 until ?2 under the token ?3.
UPDATE delivery SET state = 'running', attempt = attempt + 1, lease_until_ms = ?2, lease_token = ?3
WHERE seq = ?1
RETURNING command_id, handler, attempt, transient, trap, timeout, memory
