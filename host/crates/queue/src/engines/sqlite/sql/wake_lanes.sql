-- Lets the lanes take their turn that are held until ?1, ?2 at most.
UPDATE lane SET until_ms = NULL WHERE (handler, key) IN (
    SELECT handler, key FROM lane INDEXED BY lane_held
    WHERE until_ms IS NOT NULL AND parked = 0 AND until_ms <= ?1 ORDER BY until_ms LIMIT ?2)
