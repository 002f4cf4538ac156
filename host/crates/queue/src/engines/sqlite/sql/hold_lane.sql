-- Holds the lane of handler ?1 and key ?2 until ?3.
INSERT INTO lane (handler, key, priority, turn, hold_ms, until_ms, parked)
VALUES (?1, ?2, 0, (SELECT ifnull(max(turn), 0) + 1 FROM lane), ?3, ?3, 1)
ON CONFLICT (handler, key) DO UPDATE SET hold_ms = max(hold_ms, ?3), until_ms = max(ifnull(until_ms, 0), ?3)
