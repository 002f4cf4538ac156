-- Removes the entries of space ?1 that are over at ?2, found by the space: what is over
-- elsewhere is not looked at.
DELETE FROM entry WHERE space = ?1 AND +until_ms <= ?2
RETURNING space, octet_length(key) + octet_length(value)
