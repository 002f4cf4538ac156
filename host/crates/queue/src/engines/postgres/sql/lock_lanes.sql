-- Locks the lanes of handler $1 and the keys $2 that nobody is about to enter.
SELECT key FROM @.lane WHERE handler = $1 AND key = ANY ($2::text[]) FOR UPDATE SKIP LOCKED
