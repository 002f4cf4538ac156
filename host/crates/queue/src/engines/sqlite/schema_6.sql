-- Whose a delivery is among those of its handler.
ALTER TABLE delivery ADD COLUMN key TEXT;
DROP INDEX delivery_ready;
CREATE INDEX delivery_ready ON delivery(handler, priority DESC, position)
    WHERE state = 'available' AND blocked = 0 AND key IS NULL;
CREATE INDEX delivery_ready_keyed ON delivery(handler, key, priority DESC, position)
    WHERE state = 'available' AND blocked = 0 AND key IS NOT NULL;
-- The lanes of keys: one for each handler and key with something to take, which claims go round
-- in order of `turn`. `priority` is at least that of its first delivery. The key '' has what a
-- handler needs for itself and for deliveries without a key. Times are by the clock of leases.
CREATE TABLE lane (
    handler TEXT NOT NULL,
    key TEXT NOT NULL,
    priority INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    -- When its bucket of tokens is full again.
    full_ns INTEGER NOT NULL DEFAULT 0,
    -- Until when a handler asked for time.
    hold_ms INTEGER NOT NULL DEFAULT 0,
    -- Not looked at before this time. A parked one has nothing to take: it is only kept so long.
    until_ms INTEGER,
    parked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (handler, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX lane_ready ON lane(handler, priority DESC, turn) WHERE until_ms IS NULL;
CREATE INDEX lane_held ON lane(until_ms) WHERE until_ms IS NOT NULL AND parked = 0;
CREATE INDEX lane_parked ON lane(until_ms) WHERE until_ms IS NOT NULL AND parked = 1;
CREATE INDEX lane_turn ON lane(turn);
-- Whatever makes a delivery ready lets its lane take its turn.
CREATE TRIGGER delivery_enters AFTER INSERT ON delivery
WHEN new.key IS NOT NULL AND new.state = 'available' AND new.blocked = 0
BEGIN
    INSERT INTO lane (handler, key, priority, turn)
    VALUES (new.handler, new.key, new.priority, (SELECT ifnull(max(turn), 0) + 1 FROM lane))
    ON CONFLICT (handler, key) DO UPDATE SET priority = max(priority, excluded.priority),
        turn = iif(parked, excluded.turn, turn), until_ms = iif(parked, NULL, until_ms), parked = 0
    WHERE parked = 1 OR priority < excluded.priority;
END;
CREATE TRIGGER delivery_returns AFTER UPDATE OF state, blocked ON delivery
WHEN new.key IS NOT NULL AND new.state = 'available' AND new.blocked = 0
BEGIN
    INSERT INTO lane (handler, key, priority, turn)
    VALUES (new.handler, new.key, new.priority, (SELECT ifnull(max(turn), 0) + 1 FROM lane))
    ON CONFLICT (handler, key) DO UPDATE SET priority = max(priority, excluded.priority),
        turn = iif(parked, excluded.turn, turn), until_ms = iif(parked, NULL, until_ms), parked = 0
    WHERE parked = 1 OR priority < excluded.priority;
END;
