-- Lets the idempotency key ?1 name command ?2 with the body ?3 until ?4.
INSERT OR REPLACE INTO idempotency (key, command_id, body, expires_ms) VALUES (?1, ?2, ?3, ?4)
