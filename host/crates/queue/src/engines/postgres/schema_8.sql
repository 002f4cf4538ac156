-- Enqueues a command in the transaction of whoever calls it. A host routes it once that is committed.
-- Its meaning is that of docs/queue.md and never changes: another one has another number.
CREATE FUNCTION @.enqueue_v1(
    attributes text,
    idempotency_key text DEFAULT NULL,
    priority int4 DEFAULT 0,
    run_at timestamptz DEFAULT NULL,
    ordering_key text DEFAULT NULL,
    traceparent text DEFAULT NULL,
    idempotency_kept interval DEFAULT '24 hours'
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $pointsman_enqueue_v1$
DECLARE
    schema_name text;
    channel text;
    now_ms int8 := (extract(epoch FROM clock_timestamp()) * 1000)::int8;
    run_ms int8 := coalesce((extract(epoch FROM run_at) * 1000)::int8, now_ms);
    is_late bool := run_ms > now_ms;
    digest bytea := sha256(convert_to(attributes, 'UTF8'));
    first_digest bytea;
    command uuid;
    is_behind bool := false;
BEGIN
    IF attributes IS NULL OR octet_length(attributes) > 16777216 THEN
        RAISE EXCEPTION 'attributes: give a JSON object of up to 16 MiB' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF idempotency_key !~ '^[^[:cntrl:]]+$' OR octet_length(idempotency_key) > 255
        OR ordering_key !~ '^[^[:cntrl:]]+$' OR octet_length(ordering_key) > 255 THEN
        RAISE EXCEPTION 'a key has 1 to 255 bytes without control characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT n.nspname INTO STRICT schema_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = '@.command'::regclass;
    IF idempotency_key IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(schema_name || 'i/' || idempotency_key, 0));
        SELECT i.command_id, i.body INTO command, first_digest FROM @.idempotency i
        WHERE i.key = enqueue_v1.idempotency_key AND i.expires_ms > now_ms;
        IF FOUND AND first_digest = digest THEN
            RETURN command;
        END IF;
        IF FOUND THEN
            RAISE EXCEPTION 'idempotency key % was used for command % with another body', quote_literal(idempotency_key), command
                USING ERRCODE = 'unique_violation';
        END IF;
    END IF;
    IF ordering_key IS NOT NULL AND NOT is_late THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(schema_name || 'o/pointsman-router/' || ordering_key, 0));
        is_behind := EXISTS (SELECT 1 FROM @.delivery x
            WHERE x.handler = 'pointsman-router' AND x.ordering_key = enqueue_v1.ordering_key
                AND x.state IN ('available', 'running', 'scheduled', 'retryable') AND x.state <> 'scheduled');
    END IF;
    -- Version 7: the time, and random bits.
    command := encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(now_ms) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid;
    INSERT INTO @.command (id, attributes, idempotency_key, rules_generation, traceparent, created_ms)
    VALUES (command, attributes, idempotency_key, 0, traceparent, now_ms);
    IF idempotency_key IS NOT NULL THEN
        INSERT INTO @.idempotency AS i (key, command_id, body, expires_ms)
        VALUES (idempotency_key, command, digest, now_ms + (extract(epoch FROM idempotency_kept) * 1000)::int8)
        ON CONFLICT ON CONSTRAINT idempotency_pkey DO UPDATE
            SET command_id = excluded.command_id, body = excluded.body, expires_ms = excluded.expires_ms;
    END IF;
    INSERT INTO @.delivery (command_id, handler, digest, rules, state, run_at_ms, priority, ordering_key, blocked)
    VALUES (command, 'pointsman-router', '', '[]', CASE WHEN is_late THEN 'scheduled' ELSE 'available' END, run_ms,
        coalesce(priority, 0), ordering_key, is_behind);
    channel := 'pointsman_' || schema_name;
    IF octet_length(channel) > 63 THEN
        channel := 'pointsman_' || encode(substring(sha256(convert_to(schema_name, 'UTF8')) FROM 1 FOR 16), 'hex');
    END IF;
    PERFORM pg_notify(channel, 'work');
    RETURN command;
END
$pointsman_enqueue_v1$;
REVOKE ALL ON FUNCTION @.enqueue_v1(text, text, int4, timestamptz, text, text, interval) FROM PUBLIC;
CREATE FUNCTION @.enqueue_v1(
    attributes jsonb,
    idempotency_key text DEFAULT NULL,
    priority int4 DEFAULT 0,
    run_at timestamptz DEFAULT NULL,
    ordering_key text DEFAULT NULL,
    traceparent text DEFAULT NULL,
    idempotency_kept interval DEFAULT '24 hours'
) RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $pointsman_enqueue_v1$
    SELECT @.enqueue_v1(attributes::text, idempotency_key, priority, run_at, ordering_key, traceparent, idempotency_kept)
$pointsman_enqueue_v1$;
REVOKE ALL ON FUNCTION @.enqueue_v1(jsonb, text, int4, timestamptz, text, text, interval) FROM PUBLIC;
