-- Lets the first in the line of delivery $1 go on. The states as in the index, then those in line.
UPDATE @.delivery SET blocked = false WHERE blocked AND seq = (
    SELECT next.seq FROM @.delivery AS ended JOIN @.delivery AS next
        ON next.handler = ended.handler AND next.ordering_key = ended.ordering_key
    WHERE ended.seq = $1 AND next.ordering_key IS NOT NULL
        AND next.state IN ('available', 'running', 'scheduled', 'retryable') AND next.state <> 'scheduled'
    ORDER BY next.position, next.seq LIMIT 1)
