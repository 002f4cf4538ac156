-- Whether a delivery of command ?1 goes on, or ended after ?2, or after ?3 if it is a dead letter.
SELECT EXISTS (SELECT 1 FROM delivery WHERE command_id = ?1
    AND (finished_ms IS NULL OR finished_ms > iif(state = 'discarded', ?3, ?2)))
