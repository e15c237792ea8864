-- For sqlc alone: the parts of TimescaleDB's views that the queries name. Never run on a server.

CREATE SCHEMA timescaledb_information;

CREATE TABLE timescaledb_information.hypertables (
    hypertable_schema name NOT NULL,
    hypertable_name   name NOT NULL
);
