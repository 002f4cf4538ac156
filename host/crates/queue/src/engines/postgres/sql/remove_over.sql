-- Removes the first $3 entries that are over at $1 in the spaces $2, which are locked. How many.
WITH gone AS (
    DELETE FROM @.entry WHERE (space, key) IN (
        SELECT space, key FROM @.entry
        WHERE until_ms <= $1 AND space = ANY ($2) ORDER BY until_ms LIMIT $3
    )
    RETURNING space, octet_length(key) + octet_length(value) AS bytes
), sums AS (
    SELECT space, count(*) AS keys, sum(bytes) AS bytes FROM gone GROUP BY space
), changed AS (
    UPDATE @.space SET keys = space.keys - sums.keys, bytes = space.bytes - sums.bytes
    FROM sums WHERE space.name = sums.space
)
SELECT count(*) FROM gone
