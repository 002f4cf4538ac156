-- Lets the idempotency key $1 name command $2 with the body $3 until $4.
INSERT INTO @.idempotency (key, command_id, body, expires_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE SET command_id = $2, body = $3, expires_ms = $4
