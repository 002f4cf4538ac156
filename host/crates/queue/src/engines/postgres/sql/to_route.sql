-- Delivery $1 where it still runs under the lease $2: what those in its place take from it; locks it.
SELECT cancel_requested, priority, seq, handler, ordering_key FROM @.delivery
WHERE seq = $1 AND lease_token = $2 AND state = 'running'
FOR UPDATE
