-- The lanes of handlers $1 and keys $2 took their turn, in this order: their buckets are full at
-- $3, they are held until $4. Turns come from the sequence $5.
UPDATE @.lane l SET turn = t.turn, full_ns = t.f, until_ms = t.u FROM (
    SELECT h, k, f, u, nextval($5::text::regclass) AS turn
    FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[]) WITH ORDINALITY AS taken (h, k, f, u, n)
    ORDER BY n) t
WHERE l.handler = t.h AND l.key = t.k
