-- The same of a delivery that runs: ?4 says so too.
SELECT d.command_id
FROM delivery d INDEXED BY delivery_leased CROSS JOIN command c ON c.id = d.command_id
WHERE d.state = 'running' AND d.state = ?4 AND d.command_id < ?1
    AND c.created_ms >= ?2 AND c.created_ms < ?3 AND (?5 IS NULL OR d.handler = ?5)
GROUP BY d.command_id ORDER BY d.command_id DESC LIMIT ?6
