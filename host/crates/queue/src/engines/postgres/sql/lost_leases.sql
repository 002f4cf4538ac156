-- Running deliveries whose lease ran out by $1, $2 at most, past the locks of others.
SELECT seq, handler, ordering_key, command_id, attempt, hosts_lost, cancel_requested,
    started_ms
FROM @.delivery
WHERE state = 'running' AND lease_until_ms <= $1
LIMIT $2 FOR UPDATE SKIP LOCKED
