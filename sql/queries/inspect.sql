-- What status, doctor and the dry run of a replay ask. None of these is on the way of a batch,
-- and none changes anything.

-- name: InspectServer :one
-- Settings as this session has them: those of server, database, role and URL, in that order.
SELECT
    current_setting('server_version_num')::integer AS version_num,
    current_setting('server_version')::text AS version,
    pg_is_in_recovery()::boolean AS is_standby,
    (current_setting('transaction_read_only') = 'on')::boolean AS is_read_only,
    current_setting('synchronous_commit')::text AS synchronous_commit,
    (current_setting('fsync') = 'on')::boolean AS has_fsync,
    (coalesce(current_setting('processor.allow_plain_table', TRUE), '') = 'on')::boolean AS allows_plain_table,
    current_database()::text AS database,
    current_user::text AS role;

-- name: InspectClock :one
-- Not now(), which is when the transaction began.
SELECT clock_timestamp()::timestamptz AS now;

-- name: InspectBackend :one
-- The server process behind this connection, for telling a pooler in between.
SELECT pg_backend_pid()::integer AS pid;

-- name: InspectColumns :many
-- No row where the search path has no table positions.
SELECT
    attname::text AS name,
    format_type(atttypid, atttypmod)::text AS type,
    attnotnull AS not_null,
    (atthasdef OR attidentity <> '' OR attgenerated <> '')::boolean AS has_default
FROM pg_catalog.pg_attribute
WHERE attrelid = to_regclass('positions')
  AND attnum > 0
  AND NOT attisdropped
ORDER BY attnum;

-- name: InspectPrimaryKey :many
-- Its columns in their order; no row where there is none.
SELECT a.attname::text AS name
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = i.indrelid
   AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = to_regclass('positions')
  AND i.indisprimary
ORDER BY array_position(i.indkey::smallint[], a.attnum);

-- name: InspectRights :one
-- False for all where there is no such table.
SELECT
    coalesce(has_table_privilege(to_regclass('positions'), 'SELECT'), FALSE)::boolean AS can_select,
    coalesce(has_table_privilege(to_regclass('positions'), 'INSERT'), FALSE)::boolean AS can_insert,
    coalesce(has_table_privilege(to_regclass('positions'), 'UPDATE'), FALSE)::boolean AS can_update;

-- name: AppliedMigrations :many
-- Fails with 42P01 where nothing was ever migrated, 42501 where the role may not read it.
SELECT version::text AS version
FROM processor_schema_migrations
ORDER BY version;

-- name: NewestOf :many
-- Of the given keys, the row that was written last; no row where none of them is a row.
--
-- status uses it for "the newest committed row", with the keys of the entries that the consumer
-- group settled last. Why not simply the greatest of a column:
--   max(ingested_at)  is what is meant, but reads the whole table: there is no index on it, and
--                     there shall be none, since every index costs every write.
--   max(ts)           says what the trackers' clocks say: one that runs a year ahead would hide
--                     for a year that nothing is written. Nor is there an index on ts alone.
--   ts of the last day, then max(ingested_at)
--                     still reads the chunk of today, tens of millions of rows.
--   the last blocks of the chunk of today
--                     miss rows that went to space which vacuum had freed.
-- Keys are found through the primary key: so many index probes, however large the table. The
-- range of ts, two days at most, lets TimescaleDB leave all but three chunks out.
SELECT
    p.device_id,
    p.ts,
    p.ingested_at
FROM (
    SELECT
        unnest(@device_id::text[]) AS device_id,
        unnest(@ts::timestamptz[]) AS ts
) AS k
JOIN positions AS p
    ON p.device_id = k.device_id
   AND p.ts = k.ts
WHERE p.ts BETWEEN @first_ts AND @last_ts
ORDER BY p.ingested_at DESC
LIMIT 1;
