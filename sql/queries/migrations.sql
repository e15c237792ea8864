-- One migration at a time, however many deploy jobs start at once. Session locks, so they need
-- a separate connection and no PgBouncer in transaction mode.

-- name: UnlockMigrations :exec
SELECT pg_advisory_unlock(@key::bigint);

-- name: TryLockMigrations :one
-- Does not wait: the caller can then say who holds the lock.
SELECT pg_try_advisory_lock(@key::bigint) AS locked;

-- name: MigrationHolder :many
-- The sessions that hold the advisory lock in this database. PostgreSQL splits its key into two columns.
SELECT a.pid::integer AS pid
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory'
  AND l.granted
  AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.classid = (@key::bigint >> 32)::bigint::oid
  AND l.objid = (@key::bigint & 4294967295)::bigint::oid;

-- name: BlockersOf :many
-- The sessions that hold what the sessions with an application name wait for. Pid 0 is a prepared transaction.
SELECT DISTINCT unnest(pg_blocking_pids(w.pid))::integer AS pid
FROM pg_catalog.pg_stat_activity AS w
WHERE w.application_name = @application_name::text;

-- name: DescribeSession :many
-- What is known of a session; none where it has ended. A role without pg_read_all_stats sees the state and the
-- times only of sessions of the same role. Ages are in seconds, -1 where they are not known. Not the query's text:
-- it may hold values of rows.
SELECT
    pid::integer AS pid,
    coalesce(usename::text, '')::text AS role,
    coalesce(application_name, '')::text AS application,
    coalesce(host(client_addr), '')::text AS address,
    coalesce(state, '')::text AS state,
    coalesce(backend_type, '')::text AS kind,
    coalesce(extract(epoch FROM clock_timestamp() - xact_start), -1)::float8 AS transaction_age,
    coalesce(extract(epoch FROM clock_timestamp() - query_start), -1)::float8 AS query_age
FROM pg_catalog.pg_stat_activity
WHERE pid = @pid::integer;
