-- Lengthens the lease ?2 of delivery ?1 to ?3.
UPDATE delivery SET lease_until_ms = ?3
WHERE seq = ?1 AND lease_token = ?2 AND state = 'running'
RETURNING cancel_requested
