-- The table readings of TSBS (Time Series Benchmark Suite), use case IoT, as its loader for
-- TimescaleDB makes it, but with the chunks of positions. Only `processor bench` runs this, on a
-- disposable server.
DROP TABLE IF EXISTS readings;

CREATE TABLE readings (
    time             timestamptz,
    tags_id          integer,
    latitude         double precision,
    longitude        double precision,
    elevation        double precision,
    velocity         double precision,
    heading          double precision,
    grade            double precision,
    fuel_consumption double precision,
    additional_tags  jsonb DEFAULT NULL
);

CREATE INDEX ON readings (tags_id, time DESC);
CREATE INDEX ON readings (time DESC);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('readings', by_range('time', INTERVAL '1 day'), create_default_indexes => FALSE);
    END IF;
END
$$;
