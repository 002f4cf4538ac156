-- The same of a delivery in the state ?4, scheduled or retryable.
SELECT d.command_id
FROM delivery d INDEXED BY delivery_due CROSS JOIN command c ON c.id = d.command_id
WHERE d.state = ?4 AND d.state IN ('scheduled', 'retryable') AND d.command_id < ?1
    AND c.created_ms >= ?2 AND c.created_ms < ?3 AND (?5 IS NULL OR d.handler = ?5)
GROUP BY d.command_id ORDER BY d.command_id DESC LIMIT ?6
