INSERT INTO command (id, attributes, idempotency_key, rules_generation, traceparent, created_ms,
    causation, depth, rerun_of)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
