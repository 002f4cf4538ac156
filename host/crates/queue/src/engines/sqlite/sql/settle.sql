-- Ends the attempt of delivery ?1: its new state ?2, ?3 attempts given back, next run at ?4 where
-- it is retried, failures ?5 to ?8, ended at ?9 where it did.
UPDATE delivery SET state = ?2, attempt = attempt - ?3, run_at_ms = iif(?2 = 'retryable', ?4, run_at_ms),
    transient = transient + ?5, trap = trap + ?6, timeout = timeout + ?7, memory = memory + ?8,
    finished_ms = ?9, lease_until_ms = NULL, lease_token = NULL
WHERE seq = ?1
