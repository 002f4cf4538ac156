-- Handlers whose deliveries are not claimed; `*` stands for all.
CREATE TABLE pause (
    handler TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL,
    until_ms INTEGER,
    paused_by TEXT,
    reason TEXT
) STRICT, WITHOUT ROWID;
