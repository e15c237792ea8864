-- The statements on positions; bench.sql has one more. Rows come sorted by (device_id, ts): two replicas
-- that hold the same rows lock them in the same order and cannot deadlock, and index pages
-- are hit in order.

-- name: InsertPositions :execrows
-- For few fresh rows. Fails as a whole on a key that is there already (23505). Inserts none where the unique
-- index on the key is missing, or where a trigger might swallow or delete a row: the caller checks the count,
-- and the upsert does better. A prepared statement plans these conditions once;
-- without joins they take some 50 us each time.
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
WHERE EXISTS (
    SELECT
    FROM pg_catalog.pg_index
    WHERE indrelid = 'positions'::regclass
      AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL AND indnkeyatts = 2
      AND (pg_get_indexdef(indexrelid, 1, FALSE), pg_get_indexdef(indexrelid, 2, FALSE))
          IN (('device_id', 'ts'), ('ts', 'device_id'))
)
AND NOT EXISTS (
    SELECT
    FROM pg_catalog.pg_trigger AS t
    WHERE t.tgrelid = 'positions'::regclass
      AND NOT t.tgisinternal
      AND (SELECT pronamespace::regnamespace::text FROM pg_catalog.pg_proc WHERE oid = t.tgfoid)
          NOT IN ('_timescaledb_functions', '_timescaledb_internal')
);

-- name: UpsertPositions :batchone
-- The safe way: any redelivery, in any order, leaves the same rows. No key may stand twice in
-- one call, since ON CONFLICT cannot touch a row twice (SQLSTATE 21000): the store sends
-- repeats of a key in further statements of the same transaction.
--
-- Where two different records share a key, the values of the first stand, and the later one
-- adds the attributes that the first lacked: the right side of || wins. Where it adds none,
-- WHERE keeps the row as it is, without a dead tuple: equal attributes, which is what a replay brings, are
-- told by comparing them, and only others are merged to see whether anything would change.
--
-- watched: a trigger, a rule or row-level security may have swallowed rows, or deleted them afterwards, so
-- the counts prove nothing and the caller looks for the rows with MissingPositions.
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
    WHERE positions.attributes <> excluded.attributes
      AND positions.attributes IS DISTINCT FROM excluded.attributes || positions.attributes
    -- A row version that an INSERT made has no xmax; one that ON CONFLICT made carries the
    -- lock of the version before it.
    RETURNING (xmax = 0)::boolean AS inserted
)
SELECT
    count(*) FILTER (WHERE inserted) AS inserted,
    count(*) FILTER (WHERE NOT inserted) AS merged,
    (
        EXISTS (
            SELECT
            FROM pg_catalog.pg_class AS c
            WHERE c.oid = 'positions'::regclass
              AND (c.relrowsecurity OR c.relhasrules OR c.relkind NOT IN ('r', 'p'))
        )
        OR EXISTS (
            SELECT
            FROM pg_catalog.pg_trigger AS t
            WHERE t.tgrelid = 'positions'::regclass
              AND NOT t.tgisinternal
              AND (SELECT pronamespace::regnamespace::text FROM pg_catalog.pg_proc WHERE oid = t.tgfoid)
                  NOT IN ('_timescaledb_functions', '_timescaledb_internal')
        )
    )::boolean AS watched
FROM written;

-- name: MissingPositions :many
-- Which of the keys, counted from 0, have no row. All keys lie between first_ts and past_ts, so that only the
-- chunks of that time are opened and locked, provided that the statement is planned with its arguments: it is
-- sent without a name.
WITH wanted AS (
    SELECT
        unnest(@device_id::text[]) AS device_id,
        unnest(@ts::timestamptz[]) AS ts,
        generate_series(0, cardinality(@device_id::text[]) - 1)::integer AS n
)
SELECT w.n
FROM wanted AS w
WHERE NOT EXISTS (
    SELECT
    FROM positions AS p
    WHERE p.device_id = w.device_id
      AND p.ts = w.ts
      AND p.ts >= @first_ts::timestamptz
      AND p.ts < @past_ts::timestamptz
)
ORDER BY w.n;

-- name: CountPositions :one
-- Reads the whole table: for the demo and the benchmark, which own their database.
SELECT count(*)
FROM positions;
