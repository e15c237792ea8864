-- For sqlc alone: the part of TimescaleDB's catalog that the queries name. Never run on a server.

CREATE SCHEMA _timescaledb_catalog;

CREATE TABLE _timescaledb_catalog.hypertable (
    schema_name name NOT NULL,
    table_name  name NOT NULL
);

CREATE SCHEMA timescaledb_information;

CREATE TABLE timescaledb_information.jobs (
    job_id            integer  NOT NULL,
    schedule_interval interval NOT NULL,
    proc_name         name     NOT NULL,
    scheduled         boolean  NOT NULL,
    config            jsonb,
    hypertable_schema name,
    hypertable_name   name
);

CREATE TABLE timescaledb_information.job_stats (
    job_id                 integer NOT NULL,
    last_successful_finish timestamptz,
    last_run_status        text,
    job_status             text,
    next_start             timestamptz,
    total_runs             bigint,
    total_failures         bigint
);

CREATE TABLE timescaledb_information.chunks (
    hypertable_schema name,
    hypertable_name   name,
    range_end         timestamptz,
    is_compressed     boolean
);

CREATE TABLE timescaledb_information.hypertables (
    hypertable_schema   name,
    hypertable_name     name,
    compression_enabled boolean
);
