-- The SQLite store of 0.1.0, with a delivery in every state. Never changed: stores like it are out there.
CREATE TABLE command (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    attributes TEXT NOT NULL,
    idempotency_key TEXT,
    rules_generation INTEGER NOT NULL,
    traceparent TEXT,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    command_id BLOB NOT NULL,
    body BLOB NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency(expires_ms);
CREATE TABLE delivery (
    seq INTEGER PRIMARY KEY,
    command_id BLOB NOT NULL,
    handler TEXT NOT NULL,
    digest TEXT NOT NULL,
    rules TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    position INTEGER NOT NULL,
    run_at_ms INTEGER NOT NULL,
    ordering_key TEXT,
    blocked INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    hosts_lost INTEGER NOT NULL DEFAULT 0,
    transient INTEGER NOT NULL DEFAULT 0,
    trap INTEGER NOT NULL DEFAULT 0,
    timeout INTEGER NOT NULL DEFAULT 0,
    memory INTEGER NOT NULL DEFAULT 0,
    lease_until_ms INTEGER,
    lease_token BLOB,
    output TEXT,
    finished_ms INTEGER,
    UNIQUE (command_id, handler)
) STRICT;
CREATE TABLE failure (
    delivery INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (delivery, ordinal)
) STRICT, WITHOUT ROWID;
-- Partial, so that a row is in the few that its state needs: a claim finds its
-- rows at the front of an index however long the backlog or the history is.
CREATE INDEX delivery_ready ON delivery(handler, priority DESC, position)
    WHERE state = 'available' AND blocked = 0;
CREATE INDEX delivery_due ON delivery(run_at_ms, state, handler)
    WHERE state IN ('scheduled', 'retryable');
CREATE INDEX delivery_leased ON delivery(lease_until_ms, handler) WHERE state = 'running';
CREATE INDEX delivery_ordered ON delivery(handler, ordering_key, position, blocked, state)
    WHERE ordering_key IS NOT NULL AND state IN ('available', 'running', 'scheduled', 'retryable');
CREATE INDEX delivery_ended_badly ON delivery(state, command_id, handler)
    WHERE state IN ('discarded', 'cancelled');
INSERT INTO command (seq, id, attributes, idempotency_key, rules_generation, traceparent, created_ms) VALUES
    (1, x'01980a5c7d3e70008000000000000001', '{"n":1}', 'first', 3, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 1799999000001),
    (2, x'01980a5c7d3e70008000000000000002', '{"n":2}', NULL, 3, NULL, 1799999000002),
    (3, x'01980a5c7d3e70008000000000000003', '{"n":3}', NULL, 3, NULL, 1799999000003),
    (4, x'01980a5c7d3e70008000000000000004', '{"n":4}', NULL, 3, NULL, 1799999000004),
    (5, x'01980a5c7d3e70008000000000000005', '{"n":5}', NULL, 3, NULL, 1799999000005),
    (6, x'01980a5c7d3e70008000000000000006', '{"n":6}', NULL, 3, NULL, 1799999000006),
    (7, x'01980a5c7d3e70008000000000000007', '{"n":7}', NULL, 3, NULL, 1799999000007),
    (8, x'01980a5c7d3e70008000000000000008', '{"n":8}', NULL, 3, NULL, 1799999000008),
    (9, x'01980a5c7d3e70008000000000000009', '{"n":9}', NULL, 3, NULL, 1799999000009),
    (10, x'01980a5c7d3e7000800000000000000a', '{"n":10}', NULL, 3, NULL, 1799999000010),
    (11, x'01980a5c7d3e7000800000000000000b', '{"n":11}', NULL, 3, NULL, 1799999000011);
INSERT INTO idempotency (key, command_id, body, expires_ms) VALUES
    ('first', x'01980a5c7d3e70008000000000000001', x'2bfd14f43d17fc7cea24e0917a8879b4b2f880b8baeec1b9d90fbaad655e71bd', 1800085400000);
INSERT INTO delivery (seq, command_id, handler, digest, rules, state, priority, position, run_at_ms, ordering_key, blocked, cancel_requested,
    attempt, hosts_lost, transient, trap, timeout, memory, lease_until_ms, lease_token, output, finished_ms) VALUES
    (1, x'01980a5c7d3e70008000000000000001', 'greet', 'sha256:0', '["all"]', 'available', 0, 1, 1799999000001, NULL, 0, 0,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL),
    (2, x'01980a5c7d3e70008000000000000002', 'greet', 'sha256:0', '["all"]', 'running', 0, 2, 1799999000002, NULL, 0, 0,
        1, 0, 0, 0, 0, 0, 1799999030000, x'01980a5c7d3e70009000000000000002', NULL, NULL),
    (3, x'01980a5c7d3e70008000000000000003', 'greet', 'sha256:0', '["all"]', 'retryable', 0, 3, 1799999060000, NULL, 0, 0,
        1, 0, 1, 0, 0, 0, NULL, NULL, NULL, NULL),
    (4, x'01980a5c7d3e70008000000000000004', 'greet', 'sha256:0', '["all"]', 'scheduled', 0, 4, 1800000050000, NULL, 0, 0,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL),
    (5, x'01980a5c7d3e70008000000000000005', 'greet', 'sha256:0', '["all"]', 'completed', 0, 5, 1799999000005, NULL, 0, 0,
        1, 0, 0, 0, 0, 0, NULL, NULL, '{"ok":true}', 1799999001000),
    (6, x'01980a5c7d3e70008000000000000006', 'greet', 'sha256:0', '["all"]', 'discarded', 0, 6, 1799999000006, NULL, 0, 0,
        2, 0, 0, 2, 0, 0, NULL, NULL, NULL, 1799999002000),
    (7, x'01980a5c7d3e70008000000000000007', 'greet', 'sha256:0', '["all"]', 'cancelled', 0, 7, 1799999000007, NULL, 0, 0,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, 1799999003000),
    (8, x'01980a5c7d3e70008000000000000008', 'greet', 'sha256:0', '["all"]', 'retryable', 0, 8, 1799999060000, 'k', 0, 0,
        1, 0, 0, 0, 1, 0, NULL, NULL, NULL, NULL),
    (9, x'01980a5c7d3e70008000000000000009', 'greet', 'sha256:0', '["all"]', 'available', 0, 9, 1799999000009, 'k', 1, 0,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL),
    (10, x'01980a5c7d3e7000800000000000000a', 'greet', 'sha256:0', '["all"]', 'running', 0, 10, 1799999000010, NULL, 0, 1,
        1, 1, 0, 0, 0, 0, 1799999030000, x'01980a5c7d3e7000900000000000000a', NULL, NULL),
    (11, x'01980a5c7d3e70008000000000000001', 'audit', 'sha256:0', '["all"]', 'completed', 0, 11, 1799999000001, NULL, 0, 0,
        1, 0, 0, 0, 0, 0, NULL, NULL, 'null', 1799999001000);
INSERT INTO failure (delivery, ordinal, attempt, at_ms, status, error) VALUES
    (3, 1, 1, 1799999000501, 'unavailable', '{"status":"unavailable","message":"later","logs":[]}'),
    (6, 1, 1, 1799999000501, 'trapped', '{"status":"trapped","message":"unreachable","logs":[{"level":"info","message":"about to"}]}'),
    (6, 2, 2, 1799999000502, 'trapped', '{"status":"trapped","message":"unreachable again","logs":[]}'),
    (8, 1, 1, 1799999000501, 'timed-out', '{"status":"timed-out","message":"30 s","logs":[]}'),
    (10, 1, 1, 1799999000501, 'host-lost', '{"status":"host-lost","message":"the host was lost","logs":[]}');
PRAGMA user_version = 1;
