-- The next handler after ?1 that has something to take.
SELECT handler FROM delivery
WHERE state = 'available' AND blocked = 0 AND handler > ?1
ORDER BY handler LIMIT 1
