-- The history of handler $1, or of all where it is NULL, from minute $2 to before $3 in steps of $4;
-- $5 points at most.
SELECT minute / $4::int8 * $4::int8, handler, status, sum(count)::int8, sum(total_ms)::int8,
    sum(to_10ms)::int8, sum(to_100ms)::int8, sum(to_1s)::int8, sum(to_10s)::int8, sum(to_100s)::int8,
    sum(longer)::int8
FROM @.history
WHERE minute >= $2 AND minute < $3 AND ($1::text IS NULL OR handler = $1)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT $5
