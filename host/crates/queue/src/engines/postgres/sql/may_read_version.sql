-- Whether the role may read the version of the schema $1; no row where there is none.
SELECT has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
WHERE n.nspname = $1 AND c.relname = 'schema_version'
