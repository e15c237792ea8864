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
