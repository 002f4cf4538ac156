-- The lane of handler ?1 and key ?2 took its turn: its bucket is full at ?3, it is held until ?4.
UPDATE lane SET turn = (SELECT max(turn) + 1 FROM lane), full_ns = ?3, until_ms = ?4
WHERE handler = ?1 AND key = ?2
