-- What the tables $1 and $2 take on the disk, with their indexes.
SELECT pg_total_relation_size($1::text::regclass) + pg_total_relation_size($2::text::regclass)
