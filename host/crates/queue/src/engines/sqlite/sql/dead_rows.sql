-- Dead letters below row ?6, newest first, ?7 at most: of command ?1, of handler ?2, whose last
-- failure was ?3, as far as they are set, and which ended from ?4 to before ?5.
SELECT d.seq FROM delivery d
WHERE d.state = 'discarded'
    AND (?1 IS NULL OR d.command_id = ?1) AND (?2 IS NULL OR d.handler = ?2)
    AND (?3 IS NULL OR ?3 = (SELECT status FROM failure f WHERE f.delivery = d.seq ORDER BY ordinal DESC LIMIT 1))
    AND d.finished_ms >= ?4 AND d.finished_ms < ?5 AND d.seq < ?6
ORDER BY d.seq DESC LIMIT ?7
