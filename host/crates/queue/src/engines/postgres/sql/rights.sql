-- The role and the database, and what the role may do about the schema $1: make it; whether it is
-- there; make tables in it.
SELECT current_user::text, current_database()::text,
    has_database_privilege(current_database(), 'CREATE'), n.oid IS NOT NULL,
    coalesce(has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE'), false)
FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1
