-- Chunks older than a week become columnar: about a tenth of the size, and a device's track
-- is read from one segment. Late positions still land there: an upsert into a compressed
-- chunk is right from TimescaleDB 2.18.1 on.

-- migrate:up

-- The columnstore belongs to TimescaleDB's community licence. Where that is absent (plain
-- PostgreSQL, or the Apache-only build) this migration does nothing.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       OR current_setting('timescaledb.license', TRUE) IS DISTINCT FROM 'timescale' THEN
        RAISE NOTICE 'no TimescaleDB community licence here: positions stays a row store';
        RETURN;
    END IF;

    -- Segments by device and newest first within one: the order of the query that matters.
    ALTER TABLE positions SET (
        timescaledb.enable_columnstore = TRUE,
        timescaledb.segmentby = 'device_id',
        timescaledb.orderby = 'ts DESC'
    );

    -- After 7 days: trackers that were out of coverage deliver late, and writing into a row
    -- store is cheaper.
    CALL add_columnstore_policy('positions', after => INTERVAL '7 days');
END
$$;

-- migrate:down

-- Columnar chunks are turned back one by one, which rewrites them: on a large table this
-- takes time and the disk space of the rows.
DO $$
DECLARE
    chunk record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       OR current_setting('timescaledb.license', TRUE) IS DISTINCT FROM 'timescale' THEN
        RETURN;
    END IF;

    CALL remove_columnstore_policy('positions', if_exists => TRUE);

    FOR chunk IN
        SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS name
        FROM timescaledb_information.chunks
        WHERE hypertable_schema = current_schema()
          AND hypertable_name = 'positions'
          AND is_compressed
    LOOP
        CALL convert_to_rowstore(chunk.name);
    END LOOP;

    ALTER TABLE positions SET (timescaledb.enable_columnstore = FALSE);
END
$$;
