-- Handlers whose deliveries are not claimed; `*` stands for all.
CREATE TABLE @.pause (
    handler text COLLATE "C" PRIMARY KEY,
    since_ms int8 NOT NULL,
    until_ms int8,
    paused_by text,
    reason text
);
