-- Whether handler ?1 has anything in the line of the ordering key ?2. The states as in the index,
-- then those in line.
SELECT EXISTS (SELECT 1 FROM delivery WHERE handler = ?1 AND ordering_key = ?2
    AND state IN ('available', 'running', 'scheduled', 'retryable') AND state <> 'scheduled')
