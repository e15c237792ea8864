-- What status, trace, doctor and the dry run of a replay ask. None of these is on the way of a batch,
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
    (current_setting('full_page_writes') = 'on')::boolean AS has_full_page_writes,
    current_setting('session_replication_role')::text AS replication_role,
    current_setting('server_encoding')::text AS encoding,
    current_database()::text AS database,
    current_user::text AS role;

-- name: InspectClock :one
-- Not now(), which is when the transaction began.
SELECT clock_timestamp()::timestamptz AS now;

-- name: InspectBackend :one
-- The server process behind this connection, for telling a pooler in between.
SELECT pg_backend_pid()::integer AS pid;

-- name: InspectChunks :one
-- The chunks of positions and their indexes, by the catalog of inheritance: no lock on any of them.
--   unlogged     chunks that PostgreSQL empties after a crash
--   without_key  chunks without a unique index, into which a key can go twice
--   lock_slots   how many locks all sessions together are sure to get. A statement locks each table and each
--                index that it may read, so one without a range of ts wants as many as there are.
--   root_bytes   of the table itself, without the chunks: rows that came while TimescaleDB was not loaded,
--                and which it does not show
SELECT
    count(c.oid) AS chunks,
    coalesce(sum((SELECT count(*) FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid)), 0)::bigint AS indexes,
    count(c.oid) FILTER (WHERE c.relpersistence = 'u') AS unlogged,
    count(c.oid) FILTER (
        WHERE c.relkind = 'r'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid)
    ) AS without_key,
    current_setting('max_locks_per_transaction')::integer AS locks_per_transaction,
    (current_setting('max_connections')::integer + current_setting('max_prepared_transactions')::integer)::integer AS transactions,
    coalesce(pg_relation_size(to_regclass('positions')), 0)::bigint AS root_bytes
FROM pg_catalog.pg_inherits AS h
JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid
WHERE h.inhparent = to_regclass('positions');

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

-- name: RowsOfDevice :many
-- For trace: rows of one device in a range of fix times, the newest first. An index scan of the primary key
-- in each chunk of the range; with LIMIT TimescaleDB begins with the newest chunk and stops early.
SELECT
    device_id,
    ts,
    ingested_at
FROM positions
WHERE device_id = @device_id::text
  AND ts BETWEEN @first_ts::timestamptz AND @last_ts::timestamptz
ORDER BY ts DESC
LIMIT @maximum::integer;

-- name: TrackOfDevice :many
-- For the console's map: where a device was in a range of fix times, the newest first. Planned as RowsOfDevice.
SELECT
    ts,
    latitude,
    longitude,
    speed,
    angle
FROM positions
WHERE device_id = @device_id::text
  AND ts BETWEEN @first_ts::timestamptz AND @last_ts::timestamptz
ORDER BY ts DESC
LIMIT @maximum::integer;

-- name: EstimateRows :one
-- For the console: about how many rows positions has, by PostgreSQL's statistics of the table and its chunks, which each
-- session updates about once a second. It reads no row and takes no lock. Rows in the columnstore are in other tables and
-- are not counted.
SELECT
    (coalesce(pg_stat_get_live_tuples(to_regclass('positions')), 0)
        + coalesce(sum(pg_stat_get_live_tuples(h.inhrelid)), 0))::bigint AS live
FROM pg_catalog.pg_inherits AS h
WHERE h.inhparent = to_regclass('positions');
