-- For sqlc alone: dbmate's own table, as its PostgreSQL driver makes it. Never run on a server.

CREATE TABLE processor_schema_migrations (
    version varchar PRIMARY KEY
);
