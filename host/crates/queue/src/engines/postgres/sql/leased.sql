-- Delivery $1 where it still runs under the lease $2; locks it.
SELECT cancel_requested, attempt, seq, handler, ordering_key, started_ms, key FROM @.delivery
WHERE seq = $1 AND lease_token = $2 AND state = 'running'
FOR UPDATE
