package cli

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/deadletter"
	"processor/internal/observe"
	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/status"
	"processor/internal/stream"
)

// steady replaces what differs from run to run.
func steady(text string) string {
	for _, r := range [][2]string{
		{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
		{`[0-9.hm]+s ago`, "AGE ago"},
		{`idle [0-9.hm]+s`, "idle AGE"},
		{` = [0-9.hm]+s`, " = AGE"},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

func (r *rig) add(payload string) {
	require.NoError(r.t, r.client.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.stream, Values: []any{"payload", payload}}).Err())
}

func TestStatus_ShowsEverything(t *testing.T) {
	r := newRig(t)
	require.Equal(t, outcome{ExitOK, "WARNING  " + r.stream + "  stream does not exist: nothing was published, or REDIS_STREAM is wrong\n" +
		"redis     ok\n  stream " + r.stream + "\n    does not exist\n    dead letters  0\n" +
		"postgres  ok\n  newest row    unknown: none of the entries acknowledged last is a row\n", ""}, r.run("status"))

	r.add(goodPayload)
	r.add(badPayload)
	stop := r.work()
	servertest.Until(r.t, "one row and one dead letter", func() bool { return len(r.rows()) == 1 && len(r.dead()) == 1 })
	stop()
	// Two more that nobody has finished, and one that nobody has read.
	for range 3 {
		r.add(goodPayload)
	}
	for consumer, count := range map[string]int{"pod-1": 1, "pod-with-a-long-name": 1} {
		c := stream.NewConsumer(r.client, r.stream, "processor", consumer)
		_, err := c.ReadNew(t.Context(), new(stream.Batch), count, time.Second, nil)
		require.NoError(t, c.Close())
		require.NoError(t, err)
	}
	got := r.run("status")
	verdict, rest, _ := strings.Cut(got.out, "\n") // how old entries are decides on the verdict: see TestJudge
	require.Contains(t, verdict, "  "+r.stream+"  ")
	require.Contains(t, steady(verdict), "behind 1 entry = AGE")
	require.Equal(t, `redis     ok
  stream `+r.stream+`
    length        5
    rate          0/s added, 0/s read, 0/s acknowledged
    group         processor: lag 1 (the oldest added AGE ago), pending 2 (the oldest added AGE ago)
    consumers     pod-1                 pending 1, idle AGE
                  pod-with-a-long-name  pending 1, idle AGE
    dead letters  1: 1 missing_key
postgres  ok
  newest row    committed AGE ago, at TIME: device two, fix of TIME
`, steady(rest))

	var v status.View
	require.NoError(t, json.Unmarshal([]byte(r.run("status", "--json").out), &v))
	require.True(t, v.Redis.OK && v.Postgres.OK)
	require.Equal(t, "two", v.Newest.DeviceID)
	require.Equal(t, time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC), v.Newest.Timestamp)
	require.Len(t, v.Streams, 1)
	s := v.Streams[0]
	require.Equal(t, int64(5), s.Length)
	require.Equal(t, int64(1), *s.Group.Lag)
	require.Equal(t, int64(2), s.Group.Pending)
	require.Len(t, s.Group.Consumers, 2)
	require.Zero(t, *s.AddedRate)
	require.Zero(t, *s.DoneRate)
	require.Positive(t, *s.OldestUnread)
	require.Equal(t, status.DeadLetters{Total: 1, Counted: 1, ByReason: deadletter.Tally{"missing_key": 1}}, s.DeadLetters)
}

func TestStatus_SaysWhereItCountedSomeOfTheDeadLetters(t *testing.T) {
	r := newRig(t)
	pipe := r.client.Pipeline()
	for n := range 1000 + 5 {
		reason := deadletter.NotJSON
		if n < 5 {
			reason = deadletter.TooDeep
		}
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: stream.DeadKey(r.stream), Values: []any{"payload", "x",
			stream.FieldReason, string(reason), stream.FieldDetail, "", stream.FieldSourceID, "1-1", stream.FieldTime, ""}})
	}
	_, err := pipe.Exec(t.Context())
	require.NoError(t, err)
	require.Contains(t, r.run("status").out, "    dead letters  1,005; of the newest 1,000: 1000 not_json\n")
}

// 64 MB of dead letters: few are looked at, and none is moved.
func TestStatus_ReadsFewLargeDeadLetters(t *testing.T) {
	r := newRig(t)
	payload := strings.Repeat("x", 4<<20)
	for range 16 {
		require.NoError(t, r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: stream.DeadKey(r.stream), Values: []any{"payload", payload,
			stream.FieldReason, string(deadletter.NotJSON), stream.FieldDetail, "", stream.FieldSourceID, "1-1", stream.FieldTime, ""}}).Err())
	}
	require.Contains(t, r.run("status").out, "    dead letters  16; of the newest 3: 3 not_json\n")
}

func TestStatus_ShowsTheRestWhereAServerIsDown(t *testing.T) {
	r := newRig(t)
	r.add(goodPayload)
	const last = "processor: not every server could be asked\n"

	t.Setenv("DATABASE_URL", "postgres://u:topsecret@127.0.0.1:1/x?sslmode=disable")
	got := r.run("status")
	require.Equal(t, ExitFailure, got.code)
	require.Equal(t, last, got.err)
	require.Contains(t, got.out, "redis     ok\n")
	require.Contains(t, got.out, "    length        1\n")
	require.Contains(t, got.out, "    group         processor does not exist\n")
	require.Contains(t, got.out, "postgres  failed: connect to PostgreSQL: ")
	require.Contains(t, got.out, "CRITICAL  "+r.stream+"  nobody reads this stream: group processor does not exist; 1 entry waiting; rows unknown (PostgreSQL: connection refused)\n")
	require.Contains(t, got.out, "  newest row    unknown: PostgreSQL could not be asked\n")
	require.NotContains(t, got.out, "topsecret")

	t.Setenv("DATABASE_URL", r.database)
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	require.NoError(t, server.Kill())
	t.Setenv("REDIS_URL", strings.Replace(server.URL(), "redis://", "redis://u:topsecret@", 1))
	got = r.run("status")
	require.Equal(t, ExitFailure, got.code)
	require.Equal(t, last, got.err)
	require.Contains(t, got.out, "CRITICAL  "+r.stream+"  state unknown (Redis: connection refused)\n")
	require.Contains(t, got.out, "redis     failed: ask for the state of stream "+r.stream)
	require.Contains(t, got.out, "postgres  ok\n")
	require.NotContains(t, got.out, "topsecret")

	var v status.View
	got = r.run("status", "--json")
	require.Equal(t, ExitFailure, got.code)
	require.NoError(t, json.Unmarshal([]byte(got.out), &v))
	require.False(t, v.Redis.OK)
	require.NotEmpty(t, v.Redis.Error)
	require.True(t, v.Postgres.OK)
}

func TestStatus_FailsOnAWrongPassword(t *testing.T) {
	r := newRig(t)
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	admin, err := stream.Connect(server.URL())
	require.NoError(t, err)
	require.NoError(t, admin.ConfigSet(t.Context(), "requirepass", "right").Err())
	require.NoError(t, admin.Close())
	t.Setenv("REDIS_URL", strings.Replace(server.URL(), "redis://", "redis://:topsecret@", 1))
	got := r.run("status")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.out, "redis     failed: ")
	require.Contains(t, got.out, "WRONGPASS")
	require.NotContains(t, got.out, "topsecret")
}

// firstFrames ends a watch when two views are there.
type firstFrames struct {
	strings.Builder
	cancel context.CancelFunc
}

func (f *firstFrames) Write(p []byte) (int, error) {
	n, err := f.Builder.Write(p)
	if strings.Count(f.String(), "\n") >= 2 {
		f.cancel()
	}
	return n, err
}

func TestStatus_WatchesUntilCtrlC(t *testing.T) {
	r := newRig(t)
	r.add(goodPayload)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &firstFrames{cancel: cancel}
	var stderr strings.Builder
	require.Equal(t, ExitOK, Main(ctx, []string{"status", "--watch", "--json"}, observe.BuildInfo{}, Streams{Out: out, Err: &stderr}))
	require.Empty(t, stderr.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		var v status.View
		require.NoError(t, json.Unmarshal([]byte(line), &v))
		require.Equal(t, int64(1), v.Streams[0].Length)
	}
}
