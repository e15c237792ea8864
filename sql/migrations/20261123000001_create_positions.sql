-- The hypertable positions, which this service owns. Directus owns every other table of the database.

-- migrate:up

-- Production must not get a plain table by accident, so the migration fails in a database
-- without TimescaleDB. The message contains the fix, because dbmate prints no HINT.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    IF current_setting('processor.allow_plain_table', TRUE) = 'on' THEN
        RAISE NOTICE 'TimescaleDB is not enabled: creating positions as a plain table (processor.allow_plain_table = on)';
        RETURN;
    END IF;
    RAISE EXCEPTION 'TimescaleDB is not enabled in database "%". Either run CREATE EXTENSION timescaledb in it and migrate again, or accept a plain table by adding options=-c%%20processor.allow_plain_table%%3Don to the database URL', current_database()
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

CREATE TABLE positions (
    -- "C" compares identifiers byte by byte. It is faster than a locale's collation, and
    -- an upgrade of the locale library cannot corrupt the primary key.
    device_id   text COLLATE "C" NOT NULL,
    ts          timestamptz      NOT NULL,
    latitude    double precision NOT NULL,
    longitude   double precision NOT NULL,
    -- real is exact here: trackers send whole numbers of at most five digits.
    altitude    real             NOT NULL,
    angle       real             NOT NULL,
    speed       real             NOT NULL,
    satellites  smallint         NOT NULL,
    priority    smallint         NOT NULL,
    attributes  jsonb            NOT NULL,
    ingested_at timestamptz      NOT NULL DEFAULT now(),
    -- Makes writes idempotent, and serves the main query: the track of a device over a
    -- time range. TimescaleDB requires that it contains the partitioning column.
    PRIMARY KEY (device_id, ts)
);

COMMENT ON TABLE positions IS
    'One row for each GPS position that a tracker sent. Owned and written by the processor service; others may read.';
COMMENT ON COLUMN positions.device_id IS
    'Identifier with which the tracker logs in, usually its IMEI; 1 to 64 bytes, printable.';
COMMENT ON COLUMN positions.ts IS
    'Fix time, by the tracker''s clock.';
COMMENT ON COLUMN positions.latitude IS
    'Degrees, WGS 84, north is positive; -90 to 90, unless a tracker without a fix sent an invalid value.';
COMMENT ON COLUMN positions.longitude IS
    'Degrees, WGS 84, east is positive; -180 to 180, unless a tracker without a fix sent an invalid value.';
COMMENT ON COLUMN positions.altitude IS
    'Metres above sea level.';
COMMENT ON COLUMN positions.angle IS
    'Heading in degrees clockwise from north; 0 to 360, unless a tracker without a fix sent an invalid value.';
COMMENT ON COLUMN positions.speed IS
    'Kilometres per hour, 0 or more.';
COMMENT ON COLUMN positions.satellites IS
    'Satellites used for the fix, 0 to 255; 0 means no fix.';
COMMENT ON COLUMN positions.priority IS
    'Priority set by the tracker, 0 to 255 (Teltonika: 0 low, 1 high, 2 panic).';
COMMENT ON COLUMN positions.attributes IS
    'The tracker''s IO values by id. 64-bit integers are JSON numbers with all their digits: (attributes->>''78'')::numeric. Binary values are \x strings: (attributes->>''11317'')::bytea.';
COMMENT ON COLUMN positions.ingested_at IS
    'Start of the transaction that inserted the row. A later entry that adds attributes does not change it.';

-- Chunks of one day: the current chunk and its index fit in memory, and retention can drop
-- single days. No default index on ts: it would cost every write, and no query needs it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable(
            'positions',
            by_range('ts', INTERVAL '1 day'),
            create_default_indexes => FALSE
        );
    END IF;
END
$$;

-- migrate:down

-- Positions exist nowhere else, so a table with rows is dropped only if the session sets
-- processor.allow_data_loss.
DO $$
BEGIN
    IF current_setting('processor.allow_data_loss', TRUE) IS DISTINCT FROM 'on'
       AND EXISTS (SELECT FROM positions) THEN
        RAISE EXCEPTION 'table positions holds rows and this would delete all of them. To delete them, add options=-c%%20processor.allow_data_loss%%3Don to the database URL'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

DROP TABLE positions;
