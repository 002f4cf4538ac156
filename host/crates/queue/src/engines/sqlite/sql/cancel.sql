-- Calls off delivery ?1 at ?2, which waits.
UPDATE delivery SET state = 'cancelled', finished_ms = ?2 WHERE seq = ?1
