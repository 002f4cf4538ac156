-- What handler ?1 has for itself: its bucket is full at ?2, kept until ?3, after a turn where ?4 says so.
INSERT INTO lane (handler, key, priority, turn, full_ns, until_ms, parked)
VALUES (?1, '', 0, (SELECT ifnull(max(turn), 0) + 1 FROM lane), ?2, ?3, 1)
ON CONFLICT (handler, key) DO UPDATE SET full_ns = ?2, until_ms = ?3, turn = iif(?4, excluded.turn, turn)
