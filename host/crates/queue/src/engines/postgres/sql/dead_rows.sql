-- Dead letters below row $7, newest first, $8 at most: of command $1 to handler $2, of handler $3,
-- whose last failure was $4, as far as they are set, and which ended from $5 to before $6.
SELECT d.seq FROM @.delivery d
WHERE d.state = 'discarded'
    AND ($1::uuid IS NULL OR d.command_id = $1) AND ($2::text IS NULL OR d.handler = $2)
    AND ($3::text IS NULL OR d.handler = $3)
    AND ($4::text IS NULL OR $4 = (SELECT status FROM @.failure f WHERE f.delivery = d.seq ORDER BY ordinal DESC LIMIT 1))
    AND d.finished_ms >= $5 AND d.finished_ms < $6 AND d.seq < $7
ORDER BY d.seq DESC LIMIT $8
