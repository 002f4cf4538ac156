-- What handlers remember: entries of a space by key, until they are over.
CREATE TABLE @.entry (
    space text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text NOT NULL,
    until_ms int8,
    PRIMARY KEY (space, key)
);
CREATE INDEX entry_until ON @.entry (until_ms) WHERE until_ms IS NOT NULL;
-- How much each space holds.
CREATE TABLE @.space (
    name text COLLATE "C" PRIMARY KEY,
    keys int8 NOT NULL,
    bytes int8 NOT NULL
);
-- The delivery that emitted the command, and how many of its ancestors were emitted.
ALTER TABLE @.command ADD COLUMN causation text;
ALTER TABLE @.command ADD COLUMN depth int4 NOT NULL DEFAULT 0;
