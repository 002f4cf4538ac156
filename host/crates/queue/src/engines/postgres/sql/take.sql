-- Takes the first $2 of the deliveries $1 that no other holds; leased until $3 under the token
-- $4, at $5.
WITH picked AS MATERIALIZED (
    SELECT d.seq FROM unnest($1::int8[]) WITH ORDINALITY AS wanted (seq, n)
        JOIN @.delivery d ON d.seq = wanted.seq
    WHERE d.state = 'available' AND NOT d.blocked
    ORDER BY wanted.n LIMIT $2 FOR UPDATE OF d SKIP LOCKED)
UPDATE @.delivery d SET state = 'running', attempt = attempt + 1, started_ms = $5,
    lease_until_ms = $3, lease_token = $4
FROM @.command c
WHERE d.seq = ANY (ARRAY (SELECT seq FROM picked)) AND c.id = d.command_id
RETURNING d.seq, d.lease_token, d.command_id, d.handler, d.attempt,
    d.transient, d.trap, d.timeout, d.memory, c.attributes, c.traceparent, d.priority, d.position,
    c.depth
