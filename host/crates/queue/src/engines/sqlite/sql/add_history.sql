-- Counts ?4 attempts of handler ?2 that ended in minute ?1 with the status ?3 after ?5 milliseconds
-- in all, ?6 to ?11 of them within each bound.
INSERT INTO history (minute, handler, status, count, total_ms, to_10ms, to_100ms, to_1s, to_10s, to_100s, longer)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT (minute, handler, status) DO UPDATE SET
    count = count + excluded.count, total_ms = total_ms + excluded.total_ms,
    to_10ms = to_10ms + excluded.to_10ms, to_100ms = to_100ms + excluded.to_100ms,
    to_1s = to_1s + excluded.to_1s, to_10s = to_10s + excluded.to_10s,
    to_100s = to_100s + excluded.to_100s, longer = longer + excluded.longer
