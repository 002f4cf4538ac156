-- The history of handler ?1, or of all where it is NULL, from minute ?2 to before ?3 in steps of ?4;
-- ?5 points at most.
SELECT minute / ?4 * ?4, handler, status, sum(count), sum(total_ms),
    sum(to_10ms), sum(to_100ms), sum(to_1s), sum(to_10s), sum(to_100s), sum(longer)
FROM history
WHERE minute >= ?2 AND minute < ?3 AND (?1 IS NULL OR handler = ?1)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT ?5
