-- Holds the lanes of handler $1 and the keys $2 until $3, each; their buckets are full at $4.
UPDATE @.lane l SET until_ms = held.until, full_ns = held.full_at
FROM unnest($2::text[], $3::int8[], $4::int8[]) AS held (key, until, full_at)
WHERE l.handler = $1 AND l.key = held.key
