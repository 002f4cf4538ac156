-- Moves the delays of retries by ?1 milliseconds, but for times that no clock has. The states as
-- in the index, then the one that is meant.
UPDATE delivery SET run_at_ms = run_at_ms + ?1
WHERE state IN ('scheduled', 'retryable') AND state = 'retryable' AND abs(run_at_ms) < 1000000000000000
