-- How many deliveries of each handler among $1 and key run.
SELECT handler, key, count(*) FROM @.delivery WHERE state = 'running' AND handler = ANY ($1)
GROUP BY handler, key
