-- Sets schedule ?1: dealt with up to ?2, paused since ?3, fired at ?4 with command ?5.
INSERT INTO schedule (name, last_ms, paused_ms, fired_ms, command_id) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (name) DO UPDATE SET last_ms = ?2, paused_ms = ?3, fired_ms = ?4, command_id = ?5
