-- What each deduplication key names: until when, or until it is looked at again.
CREATE TABLE @.dedup (
    mode text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    command_id uuid NOT NULL,
    until_ms int8 NOT NULL,
    PRIMARY KEY (mode, key)
);
CREATE INDEX dedup_until ON @.dedup (until_ms);
