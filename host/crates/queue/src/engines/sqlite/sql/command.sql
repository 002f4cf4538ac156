-- Command ?1, with attributes up to ?2 bytes.
SELECT CASE WHEN octet_length(attributes) <= ?2 THEN attributes END, octet_length(attributes),
    idempotency_key, rules_generation, created_ms, causation, rerun_of
FROM command WHERE id = ?1
