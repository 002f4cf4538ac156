-- When the next lane is no longer held.
SELECT min(until_ms) FROM @.lane WHERE until_ms IS NOT NULL AND NOT parked
