-- Delivery ?1 where it still runs under the lease ?2.
SELECT cancel_requested, attempt, started_ms FROM delivery
WHERE seq = ?1 AND lease_token = ?2 AND state = 'running'
