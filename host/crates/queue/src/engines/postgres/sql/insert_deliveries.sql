-- Deliveries of commands $1 to handlers $2 with digests $3, rules $4, states $5, times $6, priorities
-- $7 and ordering keys $8. Blocked are those that $9 says, and of those that $10 says, which enter
-- a line, the ones whose line the store has. Their keys are $11. The states as in the index, then those in line.
INSERT INTO @.delivery (command_id, handler, digest, rules, state, run_at_ms, priority, ordering_key, blocked, key)
SELECT c, h, d, r, s, t, p, o,
    behind OR enters AND EXISTS (SELECT 1 FROM @.delivery x WHERE x.handler = h AND x.ordering_key = o
        AND x.state IN ('available', 'running', 'scheduled', 'retryable') AND x.state <> 'scheduled'), k
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int8[], $7::int4[], $8::text[],
        $9::bool[], $10::bool[], $11::text[])
    WITH ORDINALITY AS new (c, h, d, r, s, t, p, o, behind, enters, k, n)
ORDER BY n
