-- Counts $4 attempts of handlers $2 that ended in minutes $1 with the status $3 after $5 milliseconds
-- in all, $6 to $11 of them within each bound. In one order, as other hosts do the same.
INSERT INTO @.history AS h (minute, handler, status, count, total_ms,
    to_10ms, to_100ms, to_1s, to_10s, to_100s, longer)
SELECT * FROM unnest($1::int8[], $2::text[], $3::text[], $4::int8[], $5::int8[],
    $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[], $11::int8[])
    AS new (minute, handler, status, count, total_ms, a, b, c, d, e, f)
ORDER BY minute, handler COLLATE "C", status COLLATE "C"
ON CONFLICT (minute, handler, status) DO UPDATE SET
    count = h.count + excluded.count, total_ms = h.total_ms + excluded.total_ms,
    to_10ms = h.to_10ms + excluded.to_10ms, to_100ms = h.to_100ms + excluded.to_100ms,
    to_1s = h.to_1s + excluded.to_1s, to_10s = h.to_10s + excluded.to_10s,
    to_100s = h.to_100s + excluded.to_100s, longer = h.longer + excluded.longer
