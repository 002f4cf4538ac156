-- Removes the commands among $1 whose deliveries all ended by $2, or by $3 if they are dead letters.
WITH gone AS (
    SELECT id FROM @.command c WHERE id = ANY ($1) AND NOT EXISTS (
        SELECT 1 FROM @.delivery d WHERE d.command_id = c.id AND (d.finished_ms IS NULL
            OR d.finished_ms > CASE WHEN d.state = 'discarded' THEN $3::int8 ELSE $2::int8 END))
    FOR UPDATE SKIP LOCKED),
deliveries AS (DELETE FROM @.delivery WHERE command_id IN (SELECT id FROM gone) RETURNING seq),
failures AS (DELETE FROM @.failure WHERE delivery IN (SELECT seq FROM deliveries))
DELETE FROM @.command WHERE id IN (SELECT id FROM gone)
