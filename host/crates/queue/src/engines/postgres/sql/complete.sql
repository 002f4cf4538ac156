-- Completes delivery $1 of the lease $2, with the output $3, at $4 or now, if none can wait behind it.
UPDATE @.delivery SET state = 'completed', output = $3,
    finished_ms = coalesce($4, (extract(epoch FROM clock_timestamp()) * 1000)::int8),
    lease_until_ms = NULL, lease_token = NULL
WHERE seq = $1 AND lease_token = $2 AND state = 'running' AND ordering_key IS NULL
RETURNING started_ms, finished_ms
