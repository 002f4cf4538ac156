-- What the rows of the two largest tables hold.
SELECT (coalesce((SELECT sum(pg_column_size(c.*)) FROM @.command c), 0)
    + coalesce((SELECT sum(pg_column_size(d.*)) FROM @.delivery d), 0))::int8
