-- The PostgreSQL store of 0.1.0, with a delivery in every state. Never changed: stores like it are out there.
CREATE SCHEMA released;
SET search_path = released;
CREATE TABLE schema_version (version int8 NOT NULL);
INSERT INTO schema_version VALUES (1);
CREATE TABLE command (
    id uuid PRIMARY KEY,
    attributes text NOT NULL,
    idempotency_key text,
    rules_generation int8 NOT NULL,
    traceparent text,
    created_ms int8 NOT NULL
);
CREATE INDEX command_created ON command (created_ms, id);
CREATE TABLE idempotency (
    key text COLLATE "C" PRIMARY KEY,
    command_id uuid NOT NULL,
    body bytea NOT NULL,
    expires_ms int8 NOT NULL
);
CREATE INDEX idempotency_expires ON idempotency (expires_ms);
CREATE SEQUENCE place;
CREATE TABLE delivery (
    seq int8 PRIMARY KEY DEFAULT nextval('place'),
    command_id uuid NOT NULL,
    handler text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    rules text NOT NULL,
    state text COLLATE "C" NOT NULL,
    priority int4 NOT NULL,
    position int8 NOT NULL DEFAULT currval('place'),
    run_at_ms int8 NOT NULL,
    ordering_key text COLLATE "C",
    blocked bool NOT NULL DEFAULT false,
    cancel_requested bool NOT NULL DEFAULT false,
    attempt int8 NOT NULL DEFAULT 0,
    hosts_lost int8 NOT NULL DEFAULT 0,
    transient int8 NOT NULL DEFAULT 0,
    trap int8 NOT NULL DEFAULT 0,
    timeout int8 NOT NULL DEFAULT 0,
    memory int8 NOT NULL DEFAULT 0,
    lease_until_ms int8,
    lease_token uuid,
    output text,
    finished_ms int8,
    UNIQUE (command_id, handler)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE TABLE failure (
    delivery int8 NOT NULL,
    ordinal int8 NOT NULL,
    attempt int8 NOT NULL,
    at_ms int8 NOT NULL,
    status text NOT NULL,
    error text NOT NULL,
    PRIMARY KEY (delivery, ordinal)
);
-- Partial, as in SQLite: a row is only in the indexes that its state needs.
CREATE INDEX delivery_ready ON delivery (handler, priority DESC, position)
    WHERE state = 'available' AND NOT blocked;
CREATE INDEX delivery_due ON delivery (run_at_ms, state, handler)
    WHERE state IN ('scheduled', 'retryable');
CREATE INDEX delivery_leased ON delivery (lease_until_ms, handler) WHERE state = 'running';
CREATE INDEX delivery_ordered ON delivery (handler, ordering_key, position)
    WHERE ordering_key IS NOT NULL AND state IN ('available', 'running', 'scheduled', 'retryable');
CREATE INDEX delivery_ended_badly ON delivery (state, seq)
    WHERE state IN ('discarded', 'cancelled');
SELECT setval('place', 11);
INSERT INTO command (id, attributes, idempotency_key, rules_generation, traceparent, created_ms) VALUES
    ('01980a5c-7d3e-7000-8000-000000000001', '{"n":1}', 'first', 3, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 1799999000001),
    ('01980a5c-7d3e-7000-8000-000000000002', '{"n":2}', NULL, 3, NULL, 1799999000002),
    ('01980a5c-7d3e-7000-8000-000000000003', '{"n":3}', NULL, 3, NULL, 1799999000003),
    ('01980a5c-7d3e-7000-8000-000000000004', '{"n":4}', NULL, 3, NULL, 1799999000004),
    ('01980a5c-7d3e-7000-8000-000000000005', '{"n":5}', NULL, 3, NULL, 1799999000005),
    ('01980a5c-7d3e-7000-8000-000000000006', '{"n":6}', NULL, 3, NULL, 1799999000006),
    ('01980a5c-7d3e-7000-8000-000000000007', '{"n":7}', NULL, 3, NULL, 1799999000007),
    ('01980a5c-7d3e-7000-8000-000000000008', '{"n":8}', NULL, 3, NULL, 1799999000008),
    ('01980a5c-7d3e-7000-8000-000000000009', '{"n":9}', NULL, 3, NULL, 1799999000009),
    ('01980a5c-7d3e-7000-8000-00000000000a', '{"n":10}', NULL, 3, NULL, 1799999000010),
    ('01980a5c-7d3e-7000-8000-00000000000b', '{"n":11}', NULL, 3, NULL, 1799999000011);
INSERT INTO idempotency (key, command_id, body, expires_ms) VALUES
    ('first', '01980a5c-7d3e-7000-8000-000000000001', '\x2bfd14f43d17fc7cea24e0917a8879b4b2f880b8baeec1b9d90fbaad655e71bd', 1800085400000);
INSERT INTO delivery (seq, command_id, handler, digest, rules, state, priority, position, run_at_ms, ordering_key, blocked, cancel_requested,
    attempt, hosts_lost, transient, trap, timeout, memory, lease_until_ms, lease_token, output, finished_ms) VALUES
    (1, '01980a5c-7d3e-7000-8000-000000000001', 'greet', 'sha256:0', '["all"]', 'available', 0, 1, 1799999000001, NULL, false, false,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL),
    (2, '01980a5c-7d3e-7000-8000-000000000002', 'greet', 'sha256:0', '["all"]', 'running', 0, 2, 1799999000002, NULL, false, false,
        1, 0, 0, 0, 0, 0, 1799999030000, '01980a5c-7d3e-7000-9000-000000000002', NULL, NULL),
    (3, '01980a5c-7d3e-7000-8000-000000000003', 'greet', 'sha256:0', '["all"]', 'retryable', 0, 3, 1799999060000, NULL, false, false,
        1, 0, 1, 0, 0, 0, NULL, NULL, NULL, NULL),
    (4, '01980a5c-7d3e-7000-8000-000000000004', 'greet', 'sha256:0', '["all"]', 'scheduled', 0, 4, 1800000050000, NULL, false, false,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL),
    (5, '01980a5c-7d3e-7000-8000-000000000005', 'greet', 'sha256:0', '["all"]', 'completed', 0, 5, 1799999000005, NULL, false, false,
        1, 0, 0, 0, 0, 0, NULL, NULL, '{"ok":true}', 1799999001000),
    (6, '01980a5c-7d3e-7000-8000-000000000006', 'greet', 'sha256:0', '["all"]', 'discarded', 0, 6, 1799999000006, NULL, false, false,
        2, 0, 0, 2, 0, 0, NULL, NULL, NULL, 1799999002000),
    (7, '01980a5c-7d3e-7000-8000-000000000007', 'greet', 'sha256:0', '["all"]', 'cancelled', 0, 7, 1799999000007, NULL, false, false,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, 1799999003000),
    (8, '01980a5c-7d3e-7000-8000-000000000008', 'greet', 'sha256:0', '["all"]', 'retryable', 0, 8, 1799999060000, 'k', false, false,
        1, 0, 0, 0, 1, 0, NULL, NULL, NULL, NULL),
    (9, '01980a5c-7d3e-7000-8000-000000000009', 'greet', 'sha256:0', '["all"]', 'available', 0, 9, 1799999000009, 'k', true, false,
        0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL),
    (10, '01980a5c-7d3e-7000-8000-00000000000a', 'greet', 'sha256:0', '["all"]', 'running', 0, 10, 1799999000010, NULL, false, true,
        1, 1, 0, 0, 0, 0, 1799999030000, '01980a5c-7d3e-7000-9000-00000000000a', NULL, NULL),
    (11, '01980a5c-7d3e-7000-8000-000000000001', 'audit', 'sha256:0', '["all"]', 'completed', 0, 11, 1799999000001, NULL, false, false,
        1, 0, 0, 0, 0, 0, NULL, NULL, 'null', 1799999001000);
INSERT INTO failure (delivery, ordinal, attempt, at_ms, status, error) VALUES
    (3, 1, 1, 1799999000501, 'unavailable', '{"status":"unavailable","message":"later","logs":[]}'),
    (6, 1, 1, 1799999000501, 'trapped', '{"status":"trapped","message":"unreachable","logs":[{"level":"info","message":"about to"}]}'),
    (6, 2, 2, 1799999000502, 'trapped', '{"status":"trapped","message":"unreachable again","logs":[]}'),
    (8, 1, 1, 1799999000501, 'timed-out', '{"status":"timed-out","message":"30 s","logs":[]}'),
    (10, 1, 1, 1799999000501, 'host-lost', '{"status":"host-lost","message":"the host was lost","logs":[]}');
