-- The front of what has no key in the queue of handler ?1, ?2 long, with what it is ordered by.
SELECT -priority, position, seq FROM delivery
WHERE state = 'available' AND blocked = 0 AND key IS NULL AND handler = ?1
ORDER BY priority DESC, position LIMIT ?2
