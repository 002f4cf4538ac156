-- Entries of space $1 from key $2 on, behind $3 where there is one, below $4 where there is one, at most $5,
-- that are there at $6.
SELECT key, value FROM @.entry
WHERE space = $1 AND key >= $2 AND ($3::text IS NULL OR key > $3) AND ($4::text IS NULL OR key < $4)
    AND (until_ms IS NULL OR until_ms > $6)
ORDER BY key LIMIT $5
