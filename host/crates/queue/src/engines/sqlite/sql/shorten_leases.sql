-- Lets all leases run out by ?1.
UPDATE delivery SET lease_until_ms = min(lease_until_ms, ?1) WHERE state = 'running'
