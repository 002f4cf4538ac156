-- Deliveries of commands $1 to handlers $2 with digests $3, rules $4, times $5, priorities $6 and
-- ordering keys $7, at the time $8. Blocked where the store, or an earlier row of this batch, has
-- one in the same line; one that is scheduled enters the line when it is due.
INSERT INTO @.delivery (command_id, handler, digest, rules, state, priority, run_at_ms, ordering_key, blocked)
SELECT c, h, d, r, CASE WHEN t > $8 THEN 'scheduled' ELSE 'available' END, p, t, o,
    o IS NOT NULL AND t <= $8 AND (row_number() OVER (PARTITION BY h, o, t > $8 ORDER BY n) > 1
        OR EXISTS (SELECT 1 FROM @.delivery x WHERE x.handler = h AND x.ordering_key = o
            AND x.state IN ('available', 'running', 'scheduled', 'retryable') AND x.state <> 'scheduled'))
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::int4[], $7::text[])
    WITH ORDINALITY AS new (c, h, d, r, t, p, o, n)
ORDER BY n
