-- Moves chunks older than 7 days to the columnstore: they need about a tenth of the space, and
-- the track of a device is read from one segment. Late positions are still inserted: upserts
-- into a compressed chunk are correct since TimescaleDB 2.18.1.

-- migrate:up

-- The columnstore requires TimescaleDB's community licence. Without it (plain PostgreSQL, or
-- the Apache-only build) this migration does nothing.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       OR current_setting('timescaledb.license', TRUE) IS DISTINCT FROM 'timescale' THEN
        RAISE NOTICE 'TimescaleDB community licence not active: columnstore policy not created';
        RETURN;
    END IF;

    -- Segments by device, newest row first: the order of the main query.
    ALTER TABLE positions SET (
        timescaledb.enable_columnstore = TRUE,
        timescaledb.segmentby = 'device_id',
        timescaledb.orderby = 'ts DESC'
    );

    -- After 7 days, because trackers without coverage deliver late, and writes into the
    -- rowstore are cheaper.
    CALL add_columnstore_policy('positions', after => INTERVAL '7 days');
END
$$;

-- migrate:down

-- Converts compressed chunks back to the rowstore one by one. On a large table this takes
-- time, and disk space for the uncompressed rows.
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
