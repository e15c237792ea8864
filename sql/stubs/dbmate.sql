-- For sqlc only: dbmate's table, as its PostgreSQL driver creates it. Never executed on a server.

CREATE TABLE processor_schema_migrations (
    version varchar PRIMARY KEY
);
