-- Removes entries that are over at $1; their spaces are locked.
WITH gone AS (
    DELETE FROM @.entry WHERE until_ms <= $1 AND ($2::text IS NULL OR space = $2)
    RETURNING space, octet_length(key) + octet_length(value) AS bytes
)
UPDATE @.space SET keys = space.keys - gone.keys, bytes = space.bytes - gone.bytes
FROM (SELECT space, count(*) AS keys, sum(bytes) AS bytes FROM gone GROUP BY space) AS gone
WHERE space.name = gone.space
