-- For sqlc alone: the part of TimescaleDB's catalog that the queries name. Never run on a server.

CREATE SCHEMA _timescaledb_catalog;

CREATE TABLE _timescaledb_catalog.hypertable (
    schema_name name NOT NULL,
    table_name  name NOT NULL
);
