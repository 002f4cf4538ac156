-- Lets schedules $1 that are new begin at $2.
INSERT INTO @.schedule (name, last_ms) SELECT name, $2 FROM unnest($1::text[]) AS new (name)
ORDER BY name COLLATE "C" ON CONFLICT (name) DO NOTHING
