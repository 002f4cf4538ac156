-- Lets the key ?2 of the mode ?1 name command ?3 until ?4.
INSERT OR REPLACE INTO dedup (mode, key, command_id, until_ms) VALUES (?1, ?2, ?3, ?4)
