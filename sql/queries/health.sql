-- What readiness asks. Cheap enough for every two seconds: no query here reads a row.

-- name: CheckPositions :exec
-- Fails with 42P01 where the table is missing, 42703 where a column is, 42501 where the right
-- to read is. LIMIT 0 keeps it from touching a chunk.
SELECT
    device_id,
    ts,
    latitude,
    longitude,
    altitude,
    angle,
    speed,
    satellites,
    priority,
    attributes,
    ingested_at
FROM positions
LIMIT 0;

-- name: CanWritePositions :one
-- The rights that the upsert needs: INSERT for new rows, UPDATE and SELECT for ON CONFLICT.
SELECT (
    has_table_privilege('positions', 'INSERT')
    AND has_table_privilege('positions', 'UPDATE')
    AND has_table_privilege('positions', 'SELECT')
)::boolean AS can_write;

-- name: TimescaleVersion :one
-- Empty where the extension is not enabled in this database.
SELECT coalesce(max(extversion), '')::text AS version
FROM pg_catalog.pg_extension
WHERE extname = 'timescaledb';

-- name: IsHypertable :one
-- Only where TimescaleVersion is not empty: the view belongs to the extension.
SELECT EXISTS (
    SELECT
    FROM timescaledb_information.hypertables
    WHERE hypertable_schema = current_schema()
      AND hypertable_name = 'positions'
) AS is_hypertable;
