-- The roles that the service needs, for a superuser to run once in the database, with psql:
--
--     psql -d telemetry -f deploy/postgres/roles.sql
--
-- Run it before the migrations: what processor_migrate creates then belongs to the right roles from
-- the start. Passwords follow with \password, or come from your secret store.

-- Owns positions and runs the migrations. TimescaleDB runs the columnstore policy as the table's
-- owner, so the role must stay able to log in.
CREATE ROLE processor_migrate LOGIN;
-- The worker. It can neither create nor delete anything.
CREATE ROLE processor LOGIN;
-- Whoever reads positions becomes a member: GRANT processor_reader TO directus;
CREATE ROLE processor_reader NOLOGIN;

-- Default before PostgreSQL 15: everybody may create in public.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

GRANT CONNECT ON DATABASE :"DBNAME" TO processor_migrate, processor;
GRANT USAGE, CREATE ON SCHEMA public TO processor_migrate;
GRANT USAGE ON SCHEMA public TO processor, processor_reader;

-- INSERT for new rows; UPDATE and SELECT for ON CONFLICT DO UPDATE, which compares with the old row.
ALTER DEFAULT PRIVILEGES FOR ROLE processor_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE ON TABLES TO processor;
ALTER DEFAULT PRIVILEGES FOR ROLE processor_migrate IN SCHEMA public
    GRANT SELECT ON TABLES TO processor_reader;

-- The record of the migrations, as dbmate would make it, and dbmate finds it. Were it made later, the
-- worker would get the rights above on it too; it reads it for processor doctor, and no more.
CREATE TABLE IF NOT EXISTS public.processor_schema_migrations (version varchar PRIMARY KEY);
ALTER TABLE public.processor_schema_migrations OWNER TO processor_migrate;
REVOKE ALL ON public.processor_schema_migrations FROM processor, processor_reader;
GRANT SELECT ON public.processor_schema_migrations TO processor;
