-- Whether the role may use the table $1. One right after the other: a list means any of them.
SELECT has_table_privilege($1, 'SELECT') AND has_table_privilege($1, 'INSERT')
    AND has_table_privilege($1, 'UPDATE') AND has_table_privilege($1, 'DELETE')
