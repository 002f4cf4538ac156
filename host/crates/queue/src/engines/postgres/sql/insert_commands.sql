-- Commands $1 with attributes $2, idempotency keys $3, generations of rules $4 and trace contexts
-- $5, stored at $6, emitted by the deliveries $7 at the depths $8, repeating $9.
INSERT INTO @.command (id, attributes, idempotency_key, rules_generation, traceparent, created_ms,
    causation, depth, rerun_of)
SELECT id, a, k, g, t, $6, c, d, r
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int8[], $5::text[], $7::text[], $8::int4[],
        $9::uuid[])
    AS new (id, a, k, g, t, c, d, r)
