-- Removes the first entries that are over at ?1, in whatever space: at most ?2.
DELETE FROM entry WHERE (space, key) IN (
    SELECT space, key FROM entry WHERE until_ms <= ?1 ORDER BY until_ms LIMIT ?2
)
RETURNING space, octet_length(key) + octet_length(value)
