-- Puts the locked lanes of handler $1 and the keys $2 aside that have nothing to take, at $3; others
-- get the priority of their first delivery. What has a bucket or a hold is kept until that is over.
WITH found AS MATERIALIZED (
    SELECT k AS key, (SELECT d.priority FROM @.delivery d
        WHERE d.state = 'available' AND NOT d.blocked AND d.key IS NOT NULL AND d.handler = $1 AND d.key = k
        ORDER BY d.priority DESC, d.position LIMIT 1) AS priority
    FROM unnest($2::text[]) AS k),
lanes AS MATERIALIZED (
    SELECT f.key, f.priority, greatest((l.full_ns + 999999) / 1000000, l.hold_ms) AS over
    FROM found f JOIN @.lane l ON l.handler = $1 AND l.key = f.key),
gone AS (
    DELETE FROM @.lane l USING lanes f
    WHERE l.handler = $1 AND l.key = f.key AND f.priority IS NULL AND f.over <= $3::int8)
UPDATE @.lane l SET priority = coalesce(f.priority, l.priority), parked = f.priority IS NULL,
    until_ms = CASE WHEN f.priority IS NULL THEN f.over END
FROM lanes f
WHERE l.handler = $1 AND l.key = f.key AND (f.priority IS NOT NULL OR f.over > $3::int8)
