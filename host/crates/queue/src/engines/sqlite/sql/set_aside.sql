-- Puts delivery ?1 into the dead letter at ?2, whatever its row holds.
UPDATE delivery SET state = 'discarded', finished_ms = ?2, lease_until_ms = NULL, lease_token = NULL
WHERE seq = ?1
