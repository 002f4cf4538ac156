-- The front of what has no key in the queues of handlers $1, each as long as $2 says: handler,
-- priority, position, row.
SELECT r.handler, h.priority, h.position, h.seq
FROM unnest($1::text[], $2::int8[]) AS r (handler, room) CROSS JOIN LATERAL (
    SELECT seq, priority, position FROM @.delivery d
    WHERE d.state = 'available' AND NOT d.blocked AND d.key IS NULL AND d.handler = r.handler
    ORDER BY d.priority DESC, d.position LIMIT r.room) h
