-- The hypertable that this service owns. Everything else in the database is Directus's.

-- migrate:up

-- Production must not get a plain table by accident, so a database without TimescaleDB
-- stops the migration here. The fix stands in the message itself: dbmate prints no HINT.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN;
    END IF;
    IF current_setting('processor.allow_plain_table', TRUE) = 'on' THEN
        RAISE NOTICE 'no TimescaleDB here: positions becomes a plain table, as processor.allow_plain_table asks';
        RETURN;
    END IF;
    RAISE EXCEPTION 'TimescaleDB is not enabled in database "%". Either run CREATE EXTENSION timescaledb in it and migrate again, or accept a plain table by adding options=-c%%20processor.allow_plain_table%%3Don to the database URL', current_database()
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

CREATE TABLE positions (
    -- "C": an identifier is compared by its bytes. Cheaper than a locale's rules, and
    -- an upgrade of the locale library can never corrupt the primary key.
    device_id   text COLLATE "C" NOT NULL,
    ts          timestamptz      NOT NULL,
    latitude    double precision NOT NULL,
    longitude   double precision NOT NULL,
    -- real: trackers send these as whole numbers of at most five digits.
    altitude    real             NOT NULL,
    angle       real             NOT NULL,
    speed       real             NOT NULL,
    satellites  smallint         NOT NULL,
    priority    smallint         NOT NULL,
    attributes  jsonb            NOT NULL,
    ingested_at timestamptz      NOT NULL DEFAULT now(),
    -- Serves the one query that matters, a device's track over a span, and makes every
    -- write idempotent. TimescaleDB asks that it hold the partitioning column.
    PRIMARY KEY (device_id, ts)
);

COMMENT ON TABLE positions IS
    'One row for each GPS position that a tracker sent. Owned and written by the processor service; others may read.';
COMMENT ON COLUMN positions.device_id IS
    'Identifier of the tracker as it logs in, as a rule its IMEI; 1 to 64 bytes, printable.';
COMMENT ON COLUMN positions.ts IS
    'Time of the fix by the tracker''s clock.';
COMMENT ON COLUMN positions.latitude IS
    'Degrees, WGS 84, north is positive; -90 to 90, save where a tracker without a fix sent nonsense.';
COMMENT ON COLUMN positions.longitude IS
    'Degrees, WGS 84, east is positive; -180 to 180, save where a tracker without a fix sent nonsense.';
COMMENT ON COLUMN positions.altitude IS
    'Metres above sea level.';
COMMENT ON COLUMN positions.angle IS
    'Heading in degrees clockwise from north; 0 to 360, save where a tracker without a fix sent nonsense.';
COMMENT ON COLUMN positions.speed IS
    'Kilometres an hour, 0 or more.';
COMMENT ON COLUMN positions.satellites IS
    'Satellites used for the fix, 0 to 255; 0 means that there was no fix.';
COMMENT ON COLUMN positions.priority IS
    'Priority that the tracker gave the record, 0 to 255 (Teltonika: 0 low, 1 high, 2 panic).';
COMMENT ON COLUMN positions.attributes IS
    'The tracker''s IO values by id. 64-bit integers are JSON numbers with all their digits: (attributes->>''78'')::numeric. Binary values are \x strings: (attributes->>''11317'')::bytea.';
COMMENT ON COLUMN positions.ingested_at IS
    'Start of the transaction that first wrote the row. A later record that only adds attributes does not change it.';

-- One day a chunk: the chunk being written and its index fit in memory, and retention can
-- drop days. No default index on ts: every index costs every write, and no query needs it.
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

-- Positions cannot be got back from anywhere: a table that holds any is dropped only by
-- somebody who said so.
DO $$
BEGIN
    IF current_setting('processor.allow_data_loss', TRUE) IS DISTINCT FROM 'on'
       AND EXISTS (SELECT FROM positions) THEN
        RAISE EXCEPTION 'table positions holds rows and this would delete them all. If that is what you want, add options=-c%%20processor.allow_data_loss%%3Don to the database URL'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

DROP TABLE positions;
