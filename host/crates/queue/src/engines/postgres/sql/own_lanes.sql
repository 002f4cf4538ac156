-- What handlers $1 have for themselves: handler, turn, bucket, hold.
SELECT handler, turn, full_ns, hold_ms FROM @.lane WHERE handler = ANY ($1) AND key = ''
