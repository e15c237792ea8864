-- Is the session, and the table positions, as the worker needs it? Asked when a connection opens, and
-- every two seconds by readiness. All of it comes from the catalog: no query here plans one on the
-- table, so none takes a lock on it or on a chunk, and the cost does not grow with the chunks.

-- name: CheckSession :one
-- pg_settings and not current_setting() for what TimescaleDB defines: a value that a database or a role
-- has for it is a placeholder of the same name where the library is not loaded, and pg_settings lists
-- no placeholders. default_synchronous_commit is what the session would have without PinSession.
SELECT
    pg_backend_pid()::integer AS backend,
    current_user::text AS role,
    current_setting('client_encoding')::text AS client_encoding,
    current_setting('synchronous_commit')::text AS synchronous_commit,
    coalesce(max(s.reset_val) FILTER (WHERE s.name = 'synchronous_commit'), '')::text AS default_synchronous_commit,
    (coalesce(current_setting('processor.allow_plain_table', TRUE), '') = 'on')::boolean AS allows_plain_table,
    coalesce((SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'), '')::text AS timescale_version,
    coalesce(max(s.setting) FILTER (WHERE s.name = 'timescaledb.restoring'), '')::text AS timescale_restoring
FROM pg_catalog.pg_settings AS s
WHERE s.name IN ('synchronous_commit', 'timescaledb.restoring');

-- name: CheckTable :one
-- What the name positions leads to. Always one row; kind is empty where it leads nowhere.
--   schemas     every schema of the search path that has a relation of this name, in its order
--   has_key     a unique index that ON CONFLICT (device_id, ts) can use: these two columns in either order
--               and no third, valid, without predicate or expression, and with a collation to
--               which different identifiers are different; and none of these is deferrable, since
--               PostgreSQL refuses ON CONFLICT then (55000)
--   has_rules   a rule for INSERT or UPDATE, with which PostgreSQL refuses ON CONFLICT
SELECT
    coalesce(c.relkind::text, '')::text AS kind,
    coalesce(c.relpersistence::text, '')::text AS persistence,
    coalesce(n.nspname::text, '')::text AS schema,
    ARRAY(
        SELECT other_schema.nspname::text
        FROM pg_catalog.pg_class AS other
        JOIN pg_catalog.pg_namespace AS other_schema ON other_schema.oid = other.relnamespace
        WHERE other.relname = 'positions'
          AND other_schema.nspname = ANY (current_schemas(TRUE))
        ORDER BY array_position(current_schemas(TRUE), other_schema.nspname)
    )::text[] AS schemas,
    coalesce((
        SELECT bool_and(i.indimmediate)
        FROM pg_catalog.pg_index AS i
        JOIN pg_catalog.pg_attribute AS device
            ON device.attrelid = i.indrelid
           AND device.attname = 'device_id'
           AND device.attnum IN (i.indkey[0], i.indkey[1])
        JOIN pg_catalog.pg_attribute AS fix
            ON fix.attrelid = i.indrelid
           AND fix.attname = 'ts'
           AND fix.attnum IN (i.indkey[0], i.indkey[1])
        WHERE i.indrelid = c.oid
          AND i.indnkeyatts = 2
          AND i.indisunique
          AND i.indisvalid
          AND i.indisready
          AND i.indislive
          AND i.indpred IS NULL
          AND i.indexprs IS NULL
          AND NOT EXISTS (
              SELECT
              FROM pg_catalog.pg_collation AS l
              WHERE l.oid = ANY (i.indcollation)
                AND NOT l.collisdeterministic
          )
    ), FALSE)::boolean AS has_key,
    EXISTS (
        SELECT
        FROM pg_catalog.pg_rewrite AS w
        WHERE w.ev_class = c.oid
          AND w.ev_type IN ('2', '3')
    )::boolean AS has_rules,
    coalesce(has_table_privilege(c.oid, 'SELECT'), FALSE)::boolean AS can_select,
    coalesce(has_table_privilege(c.oid, 'INSERT'), FALSE)::boolean AS can_insert,
    coalesce(has_table_privilege(c.oid, 'UPDATE'), FALSE)::boolean AS can_update
FROM (SELECT to_regclass('positions')::oid AS oid) AS named
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = named.oid
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;

-- name: CheckColumns :many
-- No row where the search path has no positions. A domain counts with its own NOT NULL and default.
SELECT
    a.attname::text AS name,
    format_type(a.atttypid, a.atttypmod)::text AS type,
    (a.attnotnull OR t.typnotnull)::boolean AS not_null,
    (a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL)::boolean AS has_default,
    (a.attgenerated <> '' OR a.attidentity = 'a')::boolean AS generated,
    coalesce(l.collname::text, '')::text AS collation
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
WHERE a.attrelid = to_regclass('positions')
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: CheckHypertable :one
-- Only where the database has TimescaleDB. Its own catalog and not timescaledb_information.hypertables,
-- which counts the chunks.
SELECT EXISTS (
    SELECT
    FROM _timescaledb_catalog.hypertable
    WHERE schema_name = @schema_name::text
      AND table_name = 'positions'
) AS is_hypertable;
