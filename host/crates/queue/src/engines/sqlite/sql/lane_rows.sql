-- The front of the lane of handler ?1 and key ?2, ?3 long: priority, position, row.
SELECT priority, position, seq FROM delivery INDEXED BY delivery_ready_keyed
WHERE state = 'available' AND blocked = 0 AND key IS NOT NULL AND handler = ?1 AND key = ?2
ORDER BY priority DESC, position LIMIT ?3
