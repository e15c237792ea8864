-- Creates the roles of the service and their privileges in one database. Run it as a superuser, with psql:
--
--     psql -v ON_ERROR_STOP=1 -d telemetry -f deploy/postgres/roles.sql
--
-- It may be run again at any time, and in further databases of the same cluster: roles belong to the cluster, privileges to
-- the database. If one statement fails, nothing is changed. Passwords are not touched: set them with \password.
BEGIN;

-- processor_migrate owns positions and runs the migrations. TimescaleDB runs the columnstore policy as the table's owner,
-- so the role must keep LOGIN. processor is the worker. processor_reader is read access to positions, by membership:
-- GRANT processor_reader TO directus;
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['processor_migrate', 'processor', 'processor_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
    END LOOP;
END
$$;
ALTER ROLE processor_migrate LOGIN;
ALTER ROLE processor LOGIN;

-- What PUBLIC may do, every role may. Temporary tables fill the disk of the server; before PostgreSQL 15, every role may
-- create objects in schema public. A role that needs one of them gets it by name. The rights that PUBLIC keeps are listed
-- in docs/sql.md.
REVOKE TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

GRANT CONNECT ON DATABASE :"DBNAME" TO processor_migrate, processor;
GRANT USAGE, CREATE ON SCHEMA public TO processor_migrate;
GRANT USAGE ON SCHEMA public TO processor, processor_reader;

-- INSERT for new rows; UPDATE and SELECT for ON CONFLICT DO UPDATE, which reads the existing row.
ALTER DEFAULT PRIVILEGES FOR ROLE processor_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE ON TABLES TO processor;
ALTER DEFAULT PRIVILEGES FOR ROLE processor_migrate IN SCHEMA public
    GRANT SELECT ON TABLES TO processor_reader;

-- The table of applied migrations, as dbmate creates it. It is created here, because a later creation by
-- dbmate would give the worker the default privileges above. The worker only reads it (processor doctor).
DO $$
BEGIN
    IF to_regclass('public.processor_schema_migrations') IS NULL THEN
        CREATE TABLE public.processor_schema_migrations (version varchar PRIMARY KEY);
    END IF;
    -- Default privileges apply to later tables only: these repair those of a table that exists.
    IF to_regclass('public.positions') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE ON public.positions TO processor;
        GRANT SELECT ON public.positions TO processor_reader;
    END IF;
END
$$;
ALTER TABLE public.processor_schema_migrations OWNER TO processor_migrate;
REVOKE ALL ON public.processor_schema_migrations FROM PUBLIC, processor, processor_reader;
GRANT SELECT ON public.processor_schema_migrations TO processor;

COMMIT;
