-- Sent as it is, as one simple query, which is one transaction: COPY for many fresh rows. Fails as a whole on
-- a key that is there already.
--
-- The binary format has no types, so the bytes of a real would pass for an integer; COPY has no ON CONFLICT,
-- so without its unique index the same entry would be stored twice; and it reports rows as stored that
-- an AFTER trigger deleted. The block looks at the catalog for all three. 42P16 sends the rows to the upsert,
-- which converts types, needs the index (42P10) and is checked for lost rows. The lock keeps ALTER TABLE out
-- until the commit.
LOCK TABLE ONLY positions IN ROW EXCLUSIVE MODE;
DO $$
BEGIN
    IF 10 <> (
        SELECT count(*)
        FROM pg_catalog.pg_attribute
        WHERE attrelid = 'positions'::regclass
          AND NOT attisdropped
          AND (attname, atttypid, atttypmod) IN (
              ('device_id', 'text'::regtype, -1),
              ('ts', 'timestamptz'::regtype, -1),
              ('latitude', 'double precision'::regtype, -1),
              ('longitude', 'double precision'::regtype, -1),
              ('altitude', 'real'::regtype, -1),
              ('angle', 'real'::regtype, -1),
              ('speed', 'real'::regtype, -1),
              ('satellites', 'smallint'::regtype, -1),
              ('priority', 'smallint'::regtype, -1),
              ('attributes', 'jsonb'::regtype, -1)
          )
    )
    OR NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        JOIN pg_catalog.pg_attribute AS b ON b.attrelid = i.indrelid AND b.attnum = i.indkey[1]
        WHERE i.indrelid = 'positions'::regclass
          AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 2
          AND (a.attname, b.attname) IN (('device_id', 'ts'), ('ts', 'device_id'))
    )
    OR EXISTS (
        SELECT
        FROM pg_catalog.pg_trigger AS t
        JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
        WHERE t.tgrelid = 'positions'::regclass
          AND NOT t.tgisinternal
          AND n.nspname NOT IN ('_timescaledb_functions', '_timescaledb_internal')
    )
    THEN
        RAISE 'positions is not as COPY needs it' USING ERRCODE = '42P16';
    END IF;
END
$$;
COPY positions (
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
FROM STDIN (FORMAT binary)
