-- What handlers remember: entries of a space by key, until they are over.
CREATE TABLE entry (
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    until_ms INTEGER,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_until ON entry(until_ms) WHERE until_ms IS NOT NULL;
-- How much each space holds.
CREATE TABLE space (
    name TEXT PRIMARY KEY,
    keys INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- The delivery that emitted the command, and how many of its ancestors were emitted.
ALTER TABLE command ADD COLUMN causation TEXT;
ALTER TABLE command ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
