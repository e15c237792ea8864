package faultkit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/servertest"
	"processor/internal/service"
	"processor/internal/stream"
)

// rig is a Redis, a database and the streams of a test, seen directly, whatever lies between them
// and the worker.
type rig struct {
	t        testing.TB
	redis    redis.UniversalClient
	database string
	// config is that of the next worker.
	config  service.Config
	environ []string // of the next worker, further variables
	fleet   *fleet.Fleet
	// published are the payloads that must become rows.
	published [][]byte
}

// newRig takes the package's servers.
func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigOn(t, servertest.Redis(t), servertest.Migrated(t))
}

// newRigOn takes servers of the test's own, and migrates the database.
func newRigOn(t testing.TB, redisURL, databaseURL string) *rig {
	t.Helper()
	require.NoError(t, schema.MigrateUp(t.Context(), databaseURL))
	client, err := stream.Connect(redisURL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return &rig{
		t: t, redis: client, database: databaseURL,
		config: service.Config{
			Redis:           service.Redis{URL: redisURL},
			Database:        service.Database{URL: databaseURL},
			Streams:         []string{servertest.StreamName(t)},
			Group:           "processor",
			Consumer:        "me",
			BatchSize:       100,
			BatchBytes:      16 << 20,
			MaxEntryBytes:   1 << 20,
			Linger:          time.Millisecond,
			Writers:         4,
			WriteTimeout:    30 * time.Second,
			DeviceCacheSize: 1000,
			ClaimIdle:       time.Minute,
			MaxDeliveries:   10,
			MaxAge:          10 * 365 * 24 * time.Hour,
			MaxFuture:       24 * time.Hour,
			HTTPAddr:        "127.0.0.1:0",
			ShutdownTimeout: 20 * time.Second,
		},
		fleet: fleet.New(fleet.Options{Devices: 100, Seed: 1, Start: time.Now().Add(-24 * time.Hour), Step: time.Second}),
	}
}

// ownDatabase makes a database on a server of the test's own.
func ownDatabase(t testing.TB, server *sandbox.Postgres) string {
	t.Helper()
	require.NoError(t, server.CreateDatabase(t.Context(), "telemetry"))
	url := server.URL("telemetry")
	if server.HasTimescaleDB() {
		require.NoError(t, server.EnableTimescaleDB(t.Context(), "telemetry"))
		return url
	}
	url, err := sandbox.PlainTableURL(url)
	require.NoError(t, err)
	return url
}

// start starts a worker on the rig's configuration.
func (r *rig) start(ends ...end) *worker {
	r.t.Helper()
	return startWorker(r.t, r.config, r.environ, ends...)
}

// throughProxies puts a proxy before both servers.
func (r *rig) throughProxies() (redis, postgres *Proxy) {
	r.t.Helper()
	redis, r.config.Redis.URL = ProxyFor(r.t, r.config.Redis.URL)
	postgres, r.config.Database.URL = ProxyFor(r.t, r.config.Database.URL)
	return redis, postgres
}

// publish adds n further positions of the fleet to the first stream.
func (r *rig) publish(n int) { r.publishTo(r.config.Streams[0], n) }

func (r *rig) publishTo(name string, n int) {
	r.t.Helper()
	records := make([]fleet.Record, n)
	for i := range records {
		records[i] = r.fleet.Next(time.Time{})
		r.published = append(r.published, records[i].Payload)
	}
	require.NoError(r.t, fleet.NewPublisher(r.redis, name, 0).Publish(r.t.Context(), records...))
}

// record is a further position of the fleet that is not published.
func (r *rig) record() fleet.Record { return r.fleet.Next(time.Time{}) }

// add adds an entry with this payload to the first stream, whatever it is.
func (r *rig) add(payload string) (id string) {
	r.t.Helper()
	id, err := r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.config.Streams[0], Values: []any{"payload", payload}}).Result()
	require.NoError(r.t, err)
	return id
}

// execute runs statements that someone else might.
func (r *rig) execute(statements string) {
	r.t.Helper()
	servertest.Execute(r.t, r.database, statements)
}

// ask returns the rows of a query as text.
func (r *rig) ask(query string, args ...any) []string {
	r.t.Helper()
	return servertest.Ask(r.t, r.database, query, args...)
}

func (r *rig) rows() string {
	r.t.Helper()
	return r.ask(`SELECT count(*)::text FROM positions`)[0]
}

// pending counts the pending entries of all streams; -1 where Redis does not answer.
func (r *rig) pending() int64 {
	var all int64
	for _, name := range r.config.Streams {
		p, err := r.redis.XPending(r.t.Context(), name, r.config.Group).Result()
		if err != nil {
			return -1
		}
		all += p.Count
	}
	return all
}

// drained reports whether the group has been given everything and has acknowledged it.
func (r *rig) drained() bool {
	for _, name := range r.config.Streams {
		info, err := stream.Inspect(r.t.Context(), r.redis, name, r.config.Group)
		if err != nil || info.Group == nil || info.Group.Pending > 0 || info.Group.LastDelivered != info.LastGenerated {
			return false
		}
	}
	return true
}

func (r *rig) awaitDrained() {
	r.t.Helper()
	servertest.Until(r.t, "the streams are drained", r.drained)
}

// letters lists the dead letters of all streams as "reason source-id".
func (r *rig) letters() []string {
	r.t.Helper()
	letters := []string{}
	for _, name := range r.config.Streams {
		entries, err := r.redis.XRange(r.t.Context(), stream.DeadKey(name), "-", "+").Result()
		require.NoError(r.t, err)
		for _, e := range entries {
			letters = append(letters, fmt.Sprint(e.Values[stream.FieldReason], " ", e.Values[stream.FieldSourceID]))
		}
	}
	return letters
}

// requireExact is the assertion after every fault: the rows are the published positions, key by
// key and attribute by attribute, nothing is pending, and the dead letters are these and no
// others.
func (r *rig) requireExact(letters ...string) {
	r.t.Helper()
	require.True(r.t, r.drained(), "entries are unread or pending: %d", r.pending())
	require.ElementsMatch(r.t, letters, r.letters())
	require.Empty(r.t, r.differences(), "rows against what was published")
}

// compare is the oracle: PostgreSQL itself reads the payloads, by other means than the worker.
const compare = `
WITH payload AS (
	SELECT p FROM unnest($1::text[]::jsonb[]) AS p
), expected AS (
	SELECT
		p->>'device_id' AS device_id, (p->>'timestamp')::timestamptz AS ts,
		ROW(
			(p->>'latitude')::float8, (p->>'longitude')::float8, (p->>'altitude')::float4, (p->>'angle')::float4,
			(p->>'speed')::float4, (p->>'satellites')::int2, (p->>'priority')::int2
		) AS fix,
		(SELECT jsonb_object_agg(key, CASE
			WHEN jsonb_typeof(value) <> 'object' THEN value
			WHEN value ? '__bigint' THEN to_jsonb((value->>'__bigint')::numeric)
			WHEN value ? '__buffer_b64' THEN to_jsonb('\x' || encode(decode(value->>'__buffer_b64', 'base64'), 'hex'))
		END) FROM jsonb_each(p->'attributes')) AS attributes
	FROM payload
), stored AS (
	SELECT device_id, ts, ROW(latitude, longitude, altitude, angle, speed, satellites, priority) AS fix, attributes
	FROM positions
	WHERE ts BETWEEN (SELECT min(ts) FROM expected) AND (SELECT max(ts) FROM expected)
)
SELECT concat_ws(' ', device_id, ts,
	CASE WHEN s.fix IS NULL THEN 'is missing' WHEN e.fix IS NULL THEN 'was not published' ELSE 'differs' END)
FROM expected AS e FULL JOIN stored AS s USING (device_id, ts)
WHERE (e.fix, e.attributes) IS DISTINCT FROM (s.fix, s.attributes)
LIMIT 5`

// differences lists the first rows that are not as published. Rows outside of the published time
// would only show in the count.
func (r *rig) differences() []string {
	r.t.Helper()
	count := fmt.Sprint(len(r.published))
	if rows := r.rows(); rows != count {
		missing := r.compare(r.published)
		return append(missing, rows+" rows for "+count+" positions")
	}
	for chunk := range slices.Chunk(r.published, 10_000) {
		if d := r.missing(chunk); len(d) > 0 {
			return d
		}
	}
	return nil
}

func (r *rig) compare(payloads [][]byte) []string { return r.ask(compare, texts(payloads)) }

// missing compares a part of what was published: the rest of the rows is no finding.
func (r *rig) missing(payloads [][]byte) []string {
	return r.ask(strings.Replace(compare, "FULL JOIN", "LEFT JOIN", 1), texts(payloads))
}

func texts(payloads [][]byte) []string {
	all := make([]string, len(payloads))
	for i, p := range payloads {
		all[i] = string(p)
	}
	return all
}
