-- Gives up the dead letter ?1.
UPDATE delivery SET state = 'cancelled' WHERE seq = ?1 RETURNING command_id, handler
