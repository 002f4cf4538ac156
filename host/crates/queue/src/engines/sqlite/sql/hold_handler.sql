-- Pauses handler ?1 at ?2 until ?3, by ?4 for the reason ?5, where no one else did.
INSERT INTO pause (handler, since_ms, until_ms, paused_by, reason) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (handler) DO UPDATE SET until_ms = max(until_ms, ?3), paused_by = ?4, reason = ?5,
    since_ms = iif(until_ms <= ?2, ?2, since_ms)
WHERE until_ms <= ?2 OR paused_by = ?4 AND until_ms IS NOT NULL
