-- Commands before ?1, newest first, stored from ?2 to before ?3, ?6 at most: with a
-- delivery in the state ?4, discarded or cancelled, and of the handler ?5 if set. Read
-- in the order of the index of these states, which has its condition word for word.
SELECT d.command_id
FROM delivery d INDEXED BY delivery_ended_badly CROSS JOIN command c ON c.id = d.command_id
WHERE d.state = ?4 AND d.state IN ('discarded', 'cancelled') AND d.command_id < ?1
    AND c.created_ms >= ?2 AND c.created_ms < ?3 AND (?5 IS NULL OR d.handler = ?5)
GROUP BY d.command_id ORDER BY d.command_id DESC LIMIT ?6
