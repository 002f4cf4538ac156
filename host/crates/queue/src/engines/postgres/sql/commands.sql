-- Commands $1, newest first, with attributes up to $2 bytes.
SELECT id, CASE WHEN octet_length(attributes) <= $2 THEN attributes END, idempotency_key,
    rules_generation, created_ms, octet_length(attributes), causation, rerun_of
FROM @.command WHERE id = ANY ($1) ORDER BY id DESC
