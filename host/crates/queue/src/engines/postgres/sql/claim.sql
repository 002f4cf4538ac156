-- Takes the $1 most urgent deliveries without a key, of the handlers $4 (none for all), with $3 places left
-- for the limited handlers $2; leased until $5 under the token $6. None of a handler that is
-- paused at $7.
--
-- `waiting` steps through the handlers with something to take. `heads` is the front of each
-- handler's queue, unlocked and longer than asked, as other hosts look at the same; `picked` the
-- most urgent of those that no other holds.
WITH RECURSIVE waiting (handler) AS (
    (SELECT handler FROM @.delivery WHERE state = 'available' AND NOT blocked AND key IS NULL
     ORDER BY handler LIMIT 1)
    UNION ALL
    SELECT (SELECT d.handler FROM @.delivery d WHERE d.state = 'available' AND NOT d.blocked
            AND d.key IS NULL AND d.handler > w.handler ORDER BY d.handler LIMIT 1)
    FROM waiting w WHERE w.handler IS NOT NULL),
rooms AS (
    SELECT w.handler, coalesce(l.room, $1::int8 * 4) AS room
    FROM waiting w LEFT JOIN unnest($2::text[], $3::int8[]) AS l (handler, room)
        ON l.handler = w.handler
    WHERE w.handler IS NOT NULL AND ($4::text[] IS NULL OR w.handler = ANY ($4))
        AND NOT EXISTS (SELECT 1 FROM @.pause p WHERE p.handler IN (w.handler, '*')
            AND (p.until_ms IS NULL OR p.until_ms > $7))),
heads AS MATERIALIZED (
    SELECT h.seq FROM rooms r CROSS JOIN LATERAL (
        SELECT seq, priority, position FROM @.delivery
        WHERE state = 'available' AND NOT blocked AND key IS NULL AND handler = r.handler
        ORDER BY priority DESC, position LIMIT r.room) h
    ORDER BY h.priority DESC, h.position LIMIT $1::int8 * 4),
picked AS MATERIALIZED (
    SELECT seq FROM @.delivery
    WHERE seq = ANY (ARRAY (SELECT seq FROM heads)) AND state = 'available' AND NOT blocked
    ORDER BY priority DESC, position LIMIT $1::int8 FOR UPDATE SKIP LOCKED)
UPDATE @.delivery d SET state = 'running', attempt = attempt + 1, started_ms = $7,
    lease_until_ms = $5, lease_token = $6
FROM @.command c
WHERE d.seq = ANY (ARRAY (SELECT seq FROM picked)) AND c.id = d.command_id
RETURNING d.seq, d.lease_token, d.command_id, d.handler, d.attempt,
    d.transient, d.trap, d.timeout, d.memory, c.attributes, c.traceparent, d.priority, d.position,
    c.depth
