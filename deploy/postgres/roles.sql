-- Creates the roles of the service. Run it once in the database as a superuser, with psql:
--
--     psql -d telemetry -f deploy/postgres/roles.sql
--
-- Run it before the migrations, so that the default privileges apply to the table that they create.
-- Set the passwords afterwards with \password, or from your secret store.

-- Owns positions and runs the migrations. TimescaleDB runs the columnstore policy as the table's
-- owner, so the role must keep LOGIN.
CREATE ROLE processor_migrate LOGIN;
-- The worker. It cannot create objects or delete rows.
CREATE ROLE processor LOGIN;
-- Read access to positions, by membership: GRANT processor_reader TO directus;
CREATE ROLE processor_reader NOLOGIN;

-- Before PostgreSQL 15, every role may create objects in schema public by default.
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
CREATE TABLE IF NOT EXISTS public.processor_schema_migrations (version varchar PRIMARY KEY);
ALTER TABLE public.processor_schema_migrations OWNER TO processor_migrate;
REVOKE ALL ON public.processor_schema_migrations FROM processor, processor_reader;
GRANT SELECT ON public.processor_schema_migrations TO processor;
