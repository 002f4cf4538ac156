-- Completes delivery ?1 of the lease ?2, with the output ?3, at ?4.
UPDATE delivery SET state = 'completed', output = ?3, finished_ms = ?4, lease_until_ms = NULL, lease_token = NULL
WHERE seq = ?1 AND lease_token = ?2 AND state = 'running'
RETURNING ordering_key, started_ms
