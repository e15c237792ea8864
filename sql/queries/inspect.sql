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

-- name: InspectNewestChunks :one
-- How large a chunk that is written to becomes, among the eight that were created last, against the server's memory.
-- Sizes are those of table, TOAST and indexes together, and of the indexes alone. Chunks that are compressed by now are
-- small and do not count. Sizes and settings are in bytes.
SELECT
    coalesce(max(pg_total_relation_size(c.oid)), 0)::bigint AS chunk,
    coalesce(max(pg_indexes_size(c.oid)), 0)::bigint AS indexes,
    pg_size_bytes(current_setting('shared_buffers'))::bigint AS shared_buffers,
    pg_size_bytes(current_setting('effective_cache_size'))::bigint AS cache
FROM (
    SELECT h.inhrelid::oid AS oid
    FROM pg_catalog.pg_inherits AS h
    WHERE h.inhparent = to_regclass('positions')
    ORDER BY h.inhrelid DESC
    LIMIT 8
) AS c;

-- name: InspectJobs :many
-- The background jobs of TimescaleDB for positions: its columnstore policy, and what others added. Only where the
-- database has TimescaleDB. A job that never ran has no statistics. Times are in seconds.
--   after     the age at which the columnstore policy compresses a chunk; empty for other jobs
--   due_before   what ends before that should be compressed: the policy's age ago, and a day and two intervals more
--   overdue   how long ago the next run should have begun; not above 0 where it is yet to come
SELECT
    j.job_id::integer AS id,
    j.proc_name::text AS name,
    j.scheduled::boolean AS scheduled,
    extract(epoch FROM j.schedule_interval)::float8 AS every,
    coalesce(j.config ->> 'compress_after', '')::text AS after,
    coalesce(now() - (j.config ->> 'compress_after')::interval - interval '1 day' - 2 * j.schedule_interval, now())::timestamptz AS due_before,
    coalesce(s.last_run_status, '')::text AS last_run,
    coalesce(s.job_status, '')::text AS status,
    coalesce(s.total_runs, 0)::bigint AS runs,
    coalesce(s.total_failures, 0)::bigint AS failures,
    coalesce(extract(epoch FROM clock_timestamp() - nullif(s.last_successful_finish, '-infinity')), -1)::float8 AS since_success,
    coalesce(extract(epoch FROM clock_timestamp() - nullif(nullif(s.next_start, '-infinity'), 'infinity')), 0)::float8 AS overdue
FROM timescaledb_information.jobs AS j
LEFT JOIN timescaledb_information.job_stats AS s ON s.job_id = j.job_id
WHERE j.hypertable_schema = @schema_name::text
  AND j.hypertable_name = 'positions'
ORDER BY j.job_id;

-- name: InspectOverdueChunks :one
-- Chunks that end before a time and are not compressed.
SELECT count(*) AS chunks
FROM timescaledb_information.chunks
WHERE hypertable_schema = @schema_name::text
  AND hypertable_name = 'positions'
  AND NOT is_compressed
  AND range_end < @before::timestamptz;

-- name: InspectColumnstore :one
-- Whether the hypertable has the columnstore enabled. Only where the database has TimescaleDB.
SELECT EXISTS (
    SELECT
    FROM timescaledb_information.hypertables
    WHERE hypertable_schema = @schema_name::text
      AND hypertable_name = 'positions'
      AND compression_enabled
) AS enabled;

-- name: InspectDisk :one
-- What fills the disk of a server: WAL that a replication slot or a failing archive_command keeps.
--   slot       the slot that keeps the most WAL, and how many bytes; nothing on a standby
--   archive_failing   the last attempt to archive failed
SELECT
    coalesce(s.slot_name::text, '')::text AS slot,
    coalesce(s.active, FALSE)::boolean AS slot_active,
    coalesce(s.retained, 0)::bigint AS slot_retained,
    (current_setting('archive_mode') <> 'off' AND a.last_failed_time IS NOT NULL
        AND (a.last_archived_time IS NULL OR a.last_failed_time > a.last_archived_time))::boolean AS archive_failing,
    coalesce(a.failed_count, 0)::bigint AS archive_failures,
    pg_database_size(current_database())::bigint AS database_size
FROM pg_catalog.pg_stat_archiver AS a
LEFT JOIN LATERAL (
    SELECT
        slot_name,
        active,
        pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS retained
    FROM pg_catalog.pg_replication_slots
    WHERE restart_lsn IS NOT NULL
      AND NOT pg_is_in_recovery()
    ORDER BY retained DESC
    LIMIT 1
) AS s ON TRUE;

-- name: InspectRole :one
-- What the role of this session may do beyond storing positions.
SELECT
    coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), FALSE)::boolean AS superuser,
    coalesce(pg_has_role(c.relowner, 'USAGE'), FALSE)::boolean AS owner,
    coalesce(has_table_privilege(c.oid, 'DELETE'), FALSE)::boolean AS can_delete,
    coalesce(has_table_privilege(c.oid, 'TRUNCATE'), FALSE)::boolean AS can_truncate
FROM (SELECT to_regclass('positions')::oid AS oid) AS named
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = named.oid;

-- name: InspectAnyDevice :many
-- The device of any row, for a row that is tried: a foreign key may allow known devices only.
SELECT device_id
FROM positions
LIMIT 1;

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
