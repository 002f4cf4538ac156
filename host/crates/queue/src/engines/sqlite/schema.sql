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
