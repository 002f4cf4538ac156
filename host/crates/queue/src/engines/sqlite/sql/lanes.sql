-- The lanes of handler ?1 in the order in which claims go round them.
SELECT key, priority, turn, full_ns, hold_ms FROM lane INDEXED BY lane_ready
WHERE handler = ?1 AND until_ms IS NULL
ORDER BY priority DESC, turn
