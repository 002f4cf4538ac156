-- Removes entry $2 of space $1 if it is over at $3; what it held.
DELETE FROM @.entry WHERE space = $1 AND key = $2 AND until_ms <= $3
RETURNING (octet_length(key) + octet_length(value))::int8
