-- Asks what runs of command ?1 to stop.
UPDATE delivery SET cancel_requested = 1 WHERE command_id = ?1 AND state = 'running'
