-- A delivery at the place ?1, which also names its row.
INSERT INTO delivery (seq, command_id, handler, digest, rules, state, priority, position, run_at_ms, ordering_key, blocked, key)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?1, ?8, ?9, ?10, ?11)
