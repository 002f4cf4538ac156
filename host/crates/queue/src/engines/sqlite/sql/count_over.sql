-- What the entries hold that are over at ?1, by space.
SELECT space, count(*), sum(octet_length(key) + octet_length(value)) FROM entry
WHERE until_ms <= ?1 GROUP BY space
