-- Schedules of rule files: up to which of its times each was dealt with.
CREATE TABLE @.schedule (
    name text COLLATE "C" PRIMARY KEY,
    last_ms int8 NOT NULL,
    paused_ms int8,
    fired_ms int8,
    command_id uuid
);
