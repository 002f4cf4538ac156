-- The next handler after ?1 that has something to take without a key.
SELECT handler FROM delivery
WHERE state = 'available' AND blocked = 0 AND key IS NULL AND handler > ?1
ORDER BY handler LIMIT 1
