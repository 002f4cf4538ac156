-- Schedules of rule files: up to which of its times each was dealt with.
CREATE TABLE schedule (
    name TEXT PRIMARY KEY,
    last_ms INTEGER NOT NULL,
    paused_ms INTEGER,
    fired_ms INTEGER,
    command_id BLOB
) STRICT, WITHOUT ROWID;
