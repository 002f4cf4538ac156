-- The next handler after ?1 with a lane whose turn it may be.
SELECT handler FROM lane INDEXED BY lane_ready WHERE until_ms IS NULL AND handler > ?1 ORDER BY handler LIMIT 1
