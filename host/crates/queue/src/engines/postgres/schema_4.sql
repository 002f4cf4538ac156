-- When the last attempt began, and the command that this one repeats.
ALTER TABLE @.delivery ADD COLUMN started_ms int8;
ALTER TABLE @.command ADD COLUMN rerun_of uuid;
-- The attempts that ended in each minute since 1970, and how many took how long.
CREATE TABLE @.history (
    minute int8 NOT NULL,
    handler text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    count int8 NOT NULL,
    total_ms int8 NOT NULL,
    to_10ms int8 NOT NULL,
    to_100ms int8 NOT NULL,
    to_1s int8 NOT NULL,
    to_10s int8 NOT NULL,
    to_100s int8 NOT NULL,
    longer int8 NOT NULL,
    PRIMARY KEY (minute, handler, status)
);
