-- The ?3 oldest commands behind ?1 that were stored by ?2.
SELECT seq, id FROM command WHERE seq > ?1 AND created_ms <= ?2 ORDER BY seq LIMIT ?3
