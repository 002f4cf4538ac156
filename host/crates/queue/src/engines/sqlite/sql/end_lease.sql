-- Takes delivery ?1 from a lost host: its new state ?2, its lost hosts ?3, ended at ?4 where it did.
UPDATE delivery SET state = ?2, hosts_lost = ?3, lease_until_ms = NULL, lease_token = NULL, finished_ms = ?4
WHERE seq = ?1
