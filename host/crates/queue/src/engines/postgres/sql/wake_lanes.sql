-- Lets the lanes take their turn that are held until $1, $2 at most, past the locks of others.
UPDATE @.lane l SET until_ms = NULL FROM (
    SELECT handler, key FROM @.lane
    WHERE until_ms IS NOT NULL AND NOT parked AND until_ms <= $1
    ORDER BY until_ms LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) due
WHERE l.handler = due.handler AND l.key = due.key
