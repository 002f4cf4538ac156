-- The $4 oldest commands behind ($1, $2) that were stored by $3.
SELECT created_ms, id FROM @.command WHERE (created_ms, id) > ($1, $2) AND created_ms <= $3
ORDER BY created_ms, id LIMIT $4
