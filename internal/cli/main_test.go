package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/schema"
	"processor/internal/servertest"
	"processor/internal/stream"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// rig is a stream and a migrated database of the test's own, which the commands find by their
// environment variables.
type rig struct {
	t        *testing.T
	client   redis.UniversalClient
	stream   string
	database string
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, stream: servertest.StreamName(t), database: servertest.Database(t)}
	var err error
	r.client, err = stream.Connect(servertest.Redis(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.client.Close()) })
	if servertest.HasTimescaleDB(t) {
		r.sql("CREATE EXTENSION IF NOT EXISTS timescaledb")
	}
	require.NoError(t, schema.MigrateUp(t.Context(), r.database))
	t.Setenv("REDIS_URL", servertest.Redis(t))
	t.Setenv("DATABASE_URL", r.database)
	t.Setenv("REDIS_STREAM", r.stream)
	return r
}

// outcome is all that a command leaves behind on its terminal.
type outcome struct {
	code     int
	out, err string
}

func (r *rig) run(args ...string) outcome {
	var out, err bytes.Buffer
	code := Main(r.t.Context(), args, observe.BuildInfo{}, Streams{Out: &out, Err: &err})
	return outcome{code, out.String(), err.String()}
}

// work starts a worker; stop ends it and returns when it is through.
func (r *rig) work() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan int, 1)
	var logs bytes.Buffer
	go func() {
		done <- Main(ctx, []string{"run", "--http-addr=127.0.0.1:0"}, observe.BuildInfo{}, Streams{Out: &logs, Err: &logs})
	}()
	return func() {
		cancel()
		require.Equal(r.t, ExitOK, <-done, logs.String())
	}
}

// eventually waits for a state, with a deadline.
func (r *rig) eventually(holds func() bool) {
	require.Eventually(r.t, holds, time.Minute, 10*time.Millisecond)
}

func (r *rig) sql(statement string) {
	conn, err := pgx.Connect(r.t.Context(), r.database)
	require.NoError(r.t, err)
	defer conn.Close(context.WithoutCancel(r.t.Context()))
	_, err = conn.Exec(r.t.Context(), statement)
	require.NoError(r.t, err)
}

func (r *rig) rows() []string {
	conn, err := pgx.Connect(r.t.Context(), r.database)
	require.NoError(r.t, err)
	defer conn.Close(context.WithoutCancel(r.t.Context()))
	rows, err := conn.Query(r.t.Context(), "SELECT concat_ws(' ', device_id, latitude, attributes) FROM positions ORDER BY device_id, ts")
	require.NoError(r.t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(r.t, err)
	return texts
}

func (r *rig) source() []string { return r.entries(r.stream) }
func (r *rig) dead() []string   { return r.entries(stream.DeadKey(r.stream)) }

// entries lists a stream as "field=value …", without the ids.
func (r *rig) entries(key string) []string {
	found, err := r.client.Do(r.t.Context(), "xrange", key, "-", "+").Slice()
	require.NoError(r.t, err)
	entries := []string{}
	for _, e := range found {
		var text []string
		fields := e.([]any)[1].([]any)
		for i := 0; i < len(fields); i += 2 {
			text = append(text, fmt.Sprintf("%s=%s", fields[i], fields[i+1]))
		}
		entries = append(entries, strings.Join(text, " "))
	}
	return entries
}
