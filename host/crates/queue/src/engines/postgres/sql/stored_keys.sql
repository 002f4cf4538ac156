-- What the idempotency keys $1 name, but for those that were forgotten by $2.
SELECT key, command_id, body FROM @.idempotency WHERE key = ANY ($1) AND expires_ms > $2
