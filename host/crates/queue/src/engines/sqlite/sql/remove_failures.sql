-- Removes the failures of command ?1.
DELETE FROM failure WHERE delivery IN (SELECT seq FROM delivery WHERE command_id = ?1)
