-- How many deliveries of each handler and key run.
SELECT handler, key, count(*) FROM delivery WHERE state = 'running' GROUP BY handler, key
