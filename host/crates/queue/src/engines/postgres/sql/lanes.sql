-- The first $2 lanes of handler $1 in the order in which claims go round them, but for the keys
-- $3; with the front of each, long enough for $4 deliveries of all together.
WITH l AS MATERIALIZED (
    SELECT key, priority, turn, full_ns, hold_ms FROM @.lane
    WHERE handler = $1 AND until_ms IS NULL AND key <> ALL ($3::text[])
    ORDER BY priority DESC, turn LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
SELECT l.key, l.priority, l.turn, l.full_ns, l.hold_ms, h.priority, h.position, h.seq
FROM l LEFT JOIN LATERAL (
    SELECT d.priority, d.position, d.seq FROM @.delivery d
    WHERE d.state = 'available' AND NOT d.blocked AND d.key IS NOT NULL
        AND d.handler = $1 AND d.key = l.key
    ORDER BY d.priority DESC, d.position
    LIMIT (SELECT greatest($4::int8 * 4 / greatest(count(*), 1), 1) FROM l)) h ON true
ORDER BY l.priority DESC, l.turn, h.priority DESC, h.position
