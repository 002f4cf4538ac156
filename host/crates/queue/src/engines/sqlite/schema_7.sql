-- What each deduplication key names: until when, or until it is looked at again.
CREATE TABLE dedup (
    mode TEXT NOT NULL,
    key TEXT NOT NULL,
    command_id BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (mode, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedup_until ON dedup(until_ms);
