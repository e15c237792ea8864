-- The statements on positions; bench.sql has one more. Rows come sorted by (device_id, ts): two replicas
-- that hold the same rows lock them in the same order and cannot deadlock, and index pages
-- are hit in order.

-- name: CopyPositions :copyfrom
-- The fast way for fresh entries. Fails as a whole on a key that is there already.
INSERT INTO positions (
    device_id,
    ts,
    latitude,
    longitude,
    altitude,
    angle,
    speed,
    satellites,
    priority,
    attributes
)
VALUES (
    @device_id,
    @ts,
    @latitude,
    @longitude,
    @altitude,
    @angle,
    @speed,
    @satellites,
    @priority,
    @attributes
);

-- name: UpsertPositions :batchone
-- The safe way: any redelivery, in any order, leaves the same rows. No key may stand twice in
-- one call, since ON CONFLICT cannot touch a row twice (SQLSTATE 21000): the store sends
-- repeats of a key in further statements of the same transaction.
--
-- Where two different records share a key, the values of the first stand, and the later one
-- adds the attributes that the first lacked: the right side of || wins. Where it adds none,
-- WHERE keeps the row as it is, without a dead tuple.
WITH written AS (
    INSERT INTO positions (
        device_id,
        ts,
        latitude,
        longitude,
        altitude,
        angle,
        speed,
        satellites,
        priority,
        attributes
    )
    -- unnest in the select list: all arrays advance together, and sqlc can type it.
    SELECT
        unnest(@device_id::text[]),
        unnest(@ts::timestamptz[]),
        unnest(@latitude::double precision[]),
        unnest(@longitude::double precision[]),
        unnest(@altitude::real[]),
        unnest(@angle::real[]),
        unnest(@speed::real[]),
        unnest(@satellites::smallint[]),
        unnest(@priority::smallint[]),
        unnest(@attributes::jsonb[])
    ON CONFLICT (device_id, ts) DO UPDATE
    SET attributes = excluded.attributes || positions.attributes
    WHERE positions.attributes IS DISTINCT FROM excluded.attributes || positions.attributes
    -- A row version that an INSERT made has no xmax; one that ON CONFLICT made carries the
    -- lock of the version before it.
    RETURNING (xmax = 0)::boolean AS inserted
)
SELECT
    count(*) FILTER (WHERE inserted) AS inserted,
    count(*) FILTER (WHERE NOT inserted) AS merged
FROM written;

-- name: CountPositions :one
-- Reads the whole table: for the demo and the benchmark, which own their database.
SELECT count(*)
FROM positions;
