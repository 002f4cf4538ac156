-- Locks the spaces of the first $2 entries that are over at $1, in one order.
SELECT name FROM @.space WHERE name IN (
    SELECT space FROM @.entry WHERE until_ms <= $1 ORDER BY until_ms LIMIT $2
) ORDER BY name FOR UPDATE
