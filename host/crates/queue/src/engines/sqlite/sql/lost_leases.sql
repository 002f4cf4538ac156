-- Running deliveries whose lease ran out by ?1, ?2 at most.
SELECT seq, command_id, attempt, hosts_lost, cancel_requested, lease_token, handler, started_ms FROM delivery
WHERE state = 'running' AND lease_until_ms <= ?1
LIMIT ?2
