-- Delivery ?1 where it still runs under the lease ?2: what those in its place take from it.
SELECT cancel_requested, priority, ordering_key FROM delivery
WHERE seq = ?1 AND lease_token = ?2 AND state = 'running'
