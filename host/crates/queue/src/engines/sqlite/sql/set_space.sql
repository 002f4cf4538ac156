-- Space ?1 holds ?2 entries of ?3 bytes.
INSERT INTO space (name, keys, bytes) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET keys = ?2, bytes = ?3
