-- What only `processor bench` says to the database: it owns positions for the time it runs.

-- name: TruncatePositions :exec
-- Between two measurements. On a hypertable this drops the chunks, so that every measurement
-- begins by making its own.
TRUNCATE positions;

-- name: Checkpoint :exec
-- So that no measurement pays for the dirty pages of the one before it.
CHECKPOINT;

-- name: DatabaseCommits :one
-- Transactions of this database so far. Those of a session are there for certain once it has
-- ended, else up to a second late: so the caller waits until the application has none left.
SELECT
    (
        SELECT xact_commit
        FROM pg_catalog.pg_stat_database
        WHERE datname = current_database()
    )::bigint AS commits,
    (
        SELECT count(*)
        FROM pg_catalog.pg_stat_activity
        WHERE datname = current_database()
          AND application_name = @application::text
    )::bigint AS sessions;

-- name: ServerSettings :one
-- What a reader of the figures has to know of the server.
SELECT
    current_setting('server_version')::text AS version,
    current_setting('fsync')::text AS fsync,
    current_setting('synchronous_commit')::text AS synchronous_commit,
    current_setting('shared_buffers')::text AS shared_buffers;

-- name: TimescaleVersion :one
-- Empty where the extension is not enabled in this database.
SELECT coalesce(max(extversion), '')::text AS version
FROM pg_catalog.pg_extension
WHERE extname = 'timescaledb';

-- name: CompressPositions :exec
-- Converts all chunks to the columnstore, also those that hold late rows beside compressed ones.
SELECT compress_chunk(c, if_not_compressed => TRUE) FROM show_chunks('positions') AS c;

-- name: HasColumnstore :one
-- Reports whether this database can compress chunks: TimescaleDB under its community licence.
SELECT (
    EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb')
    AND current_setting('timescaledb.license', TRUE) IS NOT DISTINCT FROM 'timescale'
)::boolean AS has;

-- name: LiveDelays :one
-- Milliseconds from fix to commit of rows whose fix time is the wall clock of this machine. A
-- commit's time is taken before its WAL is written out. Needs track_commit_timestamp = on.
SELECT
    count(*)::bigint AS entries,
    coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY delay.ms), 0)::double precision AS p50,
    coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY delay.ms), 0)::double precision AS p99,
    coalesce(max(delay.ms), 0)::double precision AS longest
FROM (
    SELECT (extract(EPOCH FROM pg_xact_commit_timestamp(positions.xmin) - positions.ts) * 1000)::double precision AS ms
    FROM positions
    WHERE positions.ts BETWEEN @first AND @last
      AND positions.device_id <> @other::text
) AS delay;

-- name: TableBytes :one
-- Bytes of a table and its chunks, without and with indexes.
SELECT
    coalesce(sum(pg_table_size(part.oid)), 0)::bigint AS heap,
    coalesce(sum(pg_indexes_size(part.oid)), 0)::bigint AS indexes
FROM (
    SELECT CAST(CAST(@name AS text) AS regclass)::oid AS oid
    UNION ALL
    SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = CAST(CAST(@name AS text) AS regclass)
) AS part;
