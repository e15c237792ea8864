COPY %s (%s) FROM STDIN (FORMAT binary)
-- The binary format has no types: the bytes of a real would pass for an integer. So no row passes
-- where somebody changed the type of a column. In one statement with the rows, since ALTER TABLE
-- may come at any time; the cost was not to be told from noise.
WHERE pg_typeof(device_id) = 'text'::regtype
  AND pg_typeof(ts) = 'timestamptz'::regtype
  AND pg_typeof(latitude) = 'double precision'::regtype
  AND pg_typeof(longitude) = 'double precision'::regtype
  AND pg_typeof(altitude) = 'real'::regtype
  AND pg_typeof(angle) = 'real'::regtype
  AND pg_typeof(speed) = 'real'::regtype
  AND pg_typeof(satellites) = 'smallint'::regtype
  AND pg_typeof(priority) = 'smallint'::regtype
  AND pg_typeof(attributes) = 'jsonb'::regtype
-- How a :copyfrom query goes over the wire. The store fills in table and columns from the query
-- that sqlc generated, and encodes the rows itself.
