-- Sets entry $2 of space $1 to $3, until $4 where it ends.
INSERT INTO @.entry (space, key, value, until_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT (space, key) DO UPDATE SET value = $3, until_ms = $4
