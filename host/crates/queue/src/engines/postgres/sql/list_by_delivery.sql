-- Commands before $1, newest first, stored from $2 to before $3, $6 at most: with a
-- delivery in the state $4 and of the handler $5, as far as they are set.
SELECT id FROM @.command WHERE id < $1 AND created_ms >= $2 AND created_ms < $3
    AND EXISTS (SELECT 1 FROM @.delivery d WHERE d.command_id = command.id
        AND ($4::text IS NULL OR d.state = $4) AND ($5::text IS NULL OR d.handler = $5))
ORDER BY id DESC LIMIT $6
