-- Whose a delivery is among those of its handler.
ALTER TABLE @.delivery ADD COLUMN key text COLLATE "C";
DROP INDEX @.delivery_ready;
CREATE INDEX delivery_ready ON @.delivery (handler, priority DESC, position)
    WHERE state = 'available' AND NOT blocked AND key IS NULL;
CREATE INDEX delivery_ready_keyed ON @.delivery (handler, key, priority DESC, position)
    WHERE state = 'available' AND NOT blocked AND key IS NOT NULL;
-- The lanes of keys, as in SQLite: one for each handler and key with something to take.
CREATE TABLE @.lane (
    handler text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    priority int4 NOT NULL,
    turn int8 NOT NULL,
    full_ns int8 NOT NULL DEFAULT 0,
    hold_ms int8 NOT NULL DEFAULT 0,
    until_ms int8,
    parked bool NOT NULL DEFAULT false,
    PRIMARY KEY (handler, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX lane_ready ON @.lane (handler, priority DESC, turn) WHERE until_ms IS NULL;
CREATE INDEX lane_held ON @.lane (until_ms) WHERE until_ms IS NOT NULL AND NOT parked;
CREATE INDEX lane_parked ON @.lane (until_ms) WHERE until_ms IS NOT NULL AND parked;
-- Whatever makes a delivery ready lets its lane take its turn. A claim puts no lane aside while
-- a transaction that did so has it locked.
CREATE FUNCTION @.enter_lane() RETURNS trigger LANGUAGE plpgsql AS $enter_lane$
BEGIN
    PERFORM 1 FROM @.lane WHERE handler = NEW.handler AND key = NEW.key AND NOT parked
        AND priority >= NEW.priority FOR KEY SHARE;
    IF NOT FOUND THEN
        INSERT INTO @.lane AS l (handler, key, priority, turn)
        VALUES (NEW.handler, NEW.key, NEW.priority, nextval('@.place'))
        ON CONFLICT (handler, key) DO UPDATE SET
            priority = greatest(l.priority, excluded.priority),
            turn = CASE WHEN l.parked THEN excluded.turn ELSE l.turn END,
            until_ms = CASE WHEN l.parked THEN NULL ELSE l.until_ms END,
            parked = false;
    END IF;
    RETURN NULL;
END
$enter_lane$;
CREATE TRIGGER delivery_enters AFTER INSERT ON @.delivery FOR EACH ROW
    WHEN (NEW.key IS NOT NULL AND NEW.state = 'available' AND NOT NEW.blocked)
    EXECUTE FUNCTION @.enter_lane();
CREATE TRIGGER delivery_returns AFTER UPDATE OF state, blocked ON @.delivery FOR EACH ROW
    WHEN (NEW.key IS NOT NULL AND NEW.state = 'available' AND NOT NEW.blocked)
    EXECUTE FUNCTION @.enter_lane();
