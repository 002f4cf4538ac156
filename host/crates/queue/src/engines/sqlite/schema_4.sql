-- When the last attempt began, and the command that this one repeats.
ALTER TABLE delivery ADD COLUMN started_ms INTEGER;
ALTER TABLE command ADD COLUMN rerun_of BLOB;
-- The attempts that ended in each minute since 1970, and how many took how long.
CREATE TABLE history (
    minute INTEGER NOT NULL,
    handler TEXT NOT NULL,
    status TEXT NOT NULL,
    count INTEGER NOT NULL,
    total_ms INTEGER NOT NULL,
    to_10ms INTEGER NOT NULL,
    to_100ms INTEGER NOT NULL,
    to_1s INTEGER NOT NULL,
    to_10s INTEGER NOT NULL,
    to_100s INTEGER NOT NULL,
    longer INTEGER NOT NULL,
    PRIMARY KEY (minute, handler, status)
) STRICT, WITHOUT ROWID;
