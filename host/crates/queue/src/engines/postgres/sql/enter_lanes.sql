-- Puts the lanes of handlers $1 and keys $2 in line that have deliveries of the priorities $3,
-- in one order, as others do the same. The trigger does it for one that is not here.
WITH entering AS MATERIALIZED (
    SELECT h, k, max(p) AS p, min(n) AS n
    FROM unnest($1::text[], $2::text[], $3::int4[]) WITH ORDINALITY AS new (h, k, p, n)
    GROUP BY h, k),
numbered AS MATERIALIZED (
    SELECT h, k, p, nextval($4::text::regclass) AS turn FROM (SELECT * FROM entering ORDER BY n) e)
INSERT INTO @.lane AS l (handler, key, priority, turn)
SELECT h, k, p, turn FROM numbered
WHERE NOT EXISTS (SELECT 1 FROM @.lane x WHERE x.handler = h AND x.key = k AND NOT x.parked AND x.priority >= p)
ORDER BY h COLLATE "C", k COLLATE "C"
ON CONFLICT (handler, key) DO UPDATE SET
    priority = greatest(l.priority, excluded.priority),
    turn = CASE WHEN l.parked THEN excluded.turn ELSE l.turn END,
    until_ms = CASE WHEN l.parked THEN NULL ELSE l.until_ms END,
    parked = false
