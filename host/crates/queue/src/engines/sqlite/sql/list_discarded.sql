-- Commands before ?1, newest first, stored from ?2 to before ?3, ?6 at most: with a
-- dead letter, of the handler ?5 if set. The state is named outright, for its partial index.
SELECT id FROM command WHERE id < ?1 AND created_ms >= ?2 AND created_ms < ?3
    AND id IN (SELECT command_id FROM delivery WHERE state = 'discarded' AND (?5 IS NULL OR handler = ?5))
ORDER BY id DESC LIMIT ?6
