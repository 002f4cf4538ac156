-- Commands before ?1, newest first, stored from ?2 to before ?3, ?6 at most.
SELECT id FROM command WHERE id < ?1 AND created_ms >= ?2 AND created_ms < ?3
ORDER BY id DESC LIMIT ?6
