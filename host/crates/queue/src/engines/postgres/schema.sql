-- `@.` stands for the schema.
CREATE TABLE @.command (
    id uuid PRIMARY KEY,
    attributes text NOT NULL,
    idempotency_key text,
    rules_generation int8 NOT NULL,
    traceparent text,
    created_ms int8 NOT NULL
);
CREATE INDEX command_created ON @.command (created_ms, id);
CREATE TABLE @.idempotency (
    key text COLLATE "C" PRIMARY KEY,
    command_id uuid NOT NULL,
    body bytea NOT NULL,
    expires_ms int8 NOT NULL
);
CREATE INDEX idempotency_expires ON @.idempotency (expires_ms);
CREATE SEQUENCE @.place;
CREATE TABLE @.delivery (
    seq int8 PRIMARY KEY DEFAULT nextval('@.place'),
    command_id uuid NOT NULL,
    handler text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    rules text NOT NULL,
    state text COLLATE "C" NOT NULL,
    priority int4 NOT NULL,
    position int8 NOT NULL DEFAULT currval('@.place'),
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
CREATE TABLE @.failure (
    delivery int8 NOT NULL,
    ordinal int8 NOT NULL,
    attempt int8 NOT NULL,
    at_ms int8 NOT NULL,
    status text NOT NULL,
    error text NOT NULL,
    PRIMARY KEY (delivery, ordinal)
);
-- Partial, as in SQLite: a row is only in the indexes that its state needs.
CREATE INDEX delivery_ready ON @.delivery (handler, priority DESC, position)
    WHERE state = 'available' AND NOT blocked;
CREATE INDEX delivery_due ON @.delivery (run_at_ms, state, handler)
    WHERE state IN ('scheduled', 'retryable');
CREATE INDEX delivery_leased ON @.delivery (lease_until_ms, handler) WHERE state = 'running';
CREATE INDEX delivery_ordered ON @.delivery (handler, ordering_key, position)
    WHERE ordering_key IS NOT NULL AND state IN ('available', 'running', 'scheduled', 'retryable');
CREATE INDEX delivery_ended_badly ON @.delivery (state, seq)
    WHERE state IN ('discarded', 'cancelled');
