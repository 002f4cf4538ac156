-- Locks the spaces that have entries which are over at $1, in one order.
SELECT 1 FROM @.space WHERE name IN (SELECT space FROM @.entry WHERE until_ms <= $1) ORDER BY name FOR UPDATE
