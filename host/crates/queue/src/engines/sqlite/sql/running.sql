-- How many deliveries of each handler run.
SELECT handler, count(*) FROM delivery WHERE state = 'running' GROUP BY handler
