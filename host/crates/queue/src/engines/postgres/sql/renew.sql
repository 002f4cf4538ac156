-- Lengthens the leases of the rows $1 under the tokens $2 to $3.
UPDATE @.delivery d SET lease_until_ms = $3
FROM unnest($1::int8[], $2::uuid[]) AS held (seq, token)
WHERE d.seq = held.seq AND d.lease_token = held.token AND d.state = 'running'
RETURNING d.seq, d.cancel_requested
