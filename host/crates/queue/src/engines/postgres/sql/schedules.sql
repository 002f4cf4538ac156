-- Schedules $1, by name.
SELECT name, last_ms, paused_ms, fired_ms, command_id FROM @.schedule
WHERE name = ANY ($1::text[]) ORDER BY name
