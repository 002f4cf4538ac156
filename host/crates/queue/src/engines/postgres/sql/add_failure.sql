-- Keeps that attempt $2 of delivery $1 failed at $3 with the status $4 and the error $5.
INSERT INTO @.failure (delivery, ordinal, attempt, at_ms, status, error)
VALUES ($1, (SELECT coalesce(max(ordinal), 0) + 1 FROM @.failure WHERE delivery = $1), $2, $3, $4, $5)
