-- Takes deliveries from lost hosts: $1 rows, $2 their states, $3 their counts of lost hosts; $4 the time.
UPDATE @.delivery d SET state = ended.state, hosts_lost = ended.hosts_lost,
    lease_until_ms = NULL, lease_token = NULL,
    finished_ms = CASE WHEN ended.state <> 'available' THEN $4::int8 END
FROM unnest($1::int8[], $2::text[], $3::int8[]) AS ended (seq, state, hosts_lost)
WHERE d.seq = ended.seq
