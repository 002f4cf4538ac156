INSERT INTO command (id, attributes, idempotency_key, rules_generation, traceparent, created_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
