-- The handlers among $1 (none for all) with something to take, and whether they have lanes.
-- None that is paused at $2.
WITH RECURSIVE waiting (handler) AS (
    (SELECT handler FROM @.delivery WHERE state = 'available' AND NOT blocked AND key IS NULL
     ORDER BY handler LIMIT 1)
    UNION ALL
    SELECT (SELECT d.handler FROM @.delivery d WHERE d.state = 'available' AND NOT d.blocked
            AND d.key IS NULL AND d.handler > w.handler ORDER BY d.handler LIMIT 1)
    FROM waiting w WHERE w.handler IS NOT NULL),
laned (handler) AS (
    (SELECT handler FROM @.lane WHERE until_ms IS NULL ORDER BY handler LIMIT 1)
    UNION ALL
    SELECT (SELECT l.handler FROM @.lane l WHERE l.until_ms IS NULL AND l.handler > w.handler
            ORDER BY l.handler LIMIT 1)
    FROM laned w WHERE w.handler IS NOT NULL)
SELECT handler, bool_or(lanes) FROM (
    SELECT handler, false AS lanes FROM waiting UNION ALL SELECT handler, true FROM laned) found
WHERE handler IS NOT NULL AND ($1::text[] IS NULL OR handler = ANY ($1))
    AND NOT EXISTS (SELECT 1 FROM @.pause p WHERE p.handler IN (found.handler, '*')
        AND (p.until_ms IS NULL OR p.until_ms > $2))
GROUP BY handler ORDER BY handler
