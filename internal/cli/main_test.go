package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
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
	r := &rig{t: t, stream: servertest.StreamName(t), database: servertest.Migrated(t)}
	var err error
	r.client, err = stream.Connect(servertest.Redis(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.client.Close()) })
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

func (r *rig) sql(statement string) {
	r.t.Helper()
	servertest.Execute(r.t, r.database, statement)
}

func (r *rig) rows() []string {
	r.t.Helper()
	return servertest.Ask(r.t, r.database, "SELECT concat_ws(' ', device_id, latitude, attributes) FROM positions ORDER BY device_id, ts")
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
