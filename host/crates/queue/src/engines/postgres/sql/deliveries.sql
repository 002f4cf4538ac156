-- Deliveries with their last failure, as `row::delivery` reads them; outputs up to $1 bytes, failures
-- up to $2. Their conditions follow.
SELECT d.command_id, d.handler, d.digest, d.rules, d.state, d.attempt, d.priority, d.run_at_ms,
    d.ordering_key, d.cancel_requested, CASE WHEN octet_length(d.output) <= $1 THEN d.output END, d.finished_ms,
    f.attempt, f.at_ms, CASE WHEN octet_length(f.error) <= $2 THEN f.error END, f.status,
    octet_length(d.output), d.seq, d.started_ms
FROM @.delivery d LEFT JOIN LATERAL (
    SELECT * FROM @.failure WHERE delivery = d.seq ORDER BY ordinal DESC LIMIT 1) f ON true
