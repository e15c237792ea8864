-- One migration at a time, however many deploy jobs start at once. Session locks, so they need
-- a connection of their own and no PgBouncer in transaction mode.

-- name: LockMigrations :exec
SELECT pg_advisory_lock(@key::bigint);

-- name: UnlockMigrations :exec
SELECT pg_advisory_unlock(@key::bigint);
