-- What is due by ?1, ?2 at most.
SELECT seq, handler, state FROM delivery WHERE state IN ('scheduled', 'retryable') AND run_at_ms <= ?1
ORDER BY run_at_ms LIMIT ?2
