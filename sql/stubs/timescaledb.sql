-- For sqlc only: the columns of TimescaleDB's views that the queries use. Never executed on a server.

CREATE SCHEMA timescaledb_information;

CREATE TABLE timescaledb_information.hypertables (
    hypertable_schema name NOT NULL,
    hypertable_name   name NOT NULL
);
