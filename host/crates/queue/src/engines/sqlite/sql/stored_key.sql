-- What the idempotency key ?1 names, unless it was forgotten by ?2.
SELECT command_id, body FROM idempotency WHERE key = ?1 AND expires_ms > ?2
