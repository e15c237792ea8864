package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
	"processor/internal/stream"
)

// well are the figures of a stream that is read at 100/s without a lag.
func well() figures {
	return figures{
		group: "processor", exists: true, hasGroup: true, length: 5000, lag: new(int64(0)), consumers: 2, idle: time.Second,
		added: new(100.0), read: new(100.0), done: new(100.0), newestCommit: new(time.Second),
	}
}

func TestJudge(t *testing.T) {
	backlog := func(f *figures) {
		f.lag, f.oldestUnread = new(int64(446_889)), new(7*time.Minute+27*time.Second)
		f.read, f.done = new(0.0), new(0.0)
		f.pending, f.oldestPending = 8000, new(7*time.Minute+28*time.Second)
	}
	cases := map[string]struct {
		change func(*figures)
		level  level
		text   string
	}{
		"well": {func(*figures) {}, levelOK, "100/s; lag 0"},
		"in flight": {func(f *figures) {
			f.lag, f.pending, f.oldestUnread, f.oldestPending, f.done = new(int64(80)), 90, new(time.Second), new(time.Second), new(0.0)
		}, levelOK, "100/s; behind 80 entries = 1s"},
		"nothing published": {func(f *figures) {
			f.added, f.read, f.done, f.newestCommit = new(0.0), new(0.0), new(0.0), new(9*time.Hour)
		}, levelOK, "0/s; lag 0"},
		"rates unknown": {func(f *figures) { f.added, f.read, f.done = nil, nil, nil }, levelOK, "rate unknown; lag 0"},
		"lag unknown":   {func(f *figures) { f.lag, f.oldestUnread = nil, new(2*time.Second) }, levelOK, "100/s; behind an unknown number of entries = 2s"},
		"no stream":     {func(f *figures) { *f = figures{group: "processor"} }, levelWarning, "stream does not exist: nothing was published, or REDIS_STREAM is wrong"},
		"no group":      {func(f *figures) { f.hasGroup = false }, levelCritical, "nobody reads this stream: group processor does not exist; 5,000 entries waiting"},
		"no group, nothing waits": {func(f *figures) { f.hasGroup, f.length = false, 0 }, levelWarning,
			"nobody reads this stream: group processor does not exist; 0 entries waiting"},
		"no consumer": {func(f *figures) { backlog(f); f.consumers, f.pending = 0, 0 }, levelCritical,
			"nobody reads this stream: the group has no consumer; behind 446,889 entries = 7m27s"},
		"no consumer, nothing waits": {func(f *figures) { f.consumers = 0 }, levelWarning, "nobody reads this stream: the group has no consumer; lag 0"},
		"silent consumers":           {func(f *figures) { backlog(f); f.idle = 4 * time.Minute }, levelCritical, "nobody reads this stream: no consumer has asked for 4m0s; behind 446,889 entries = 7m27s"},
		"held": {func(f *figures) {
			backlog(f)
			f.postgres, f.idle, f.newestCommit = "connection refused", 4*time.Minute, nil
			f.trim = new(2*time.Minute + 34*time.Second)
		}, levelCritical, "nothing is being stored, nor read for 4m0s (PostgreSQL: connection refused); behind 446,889 entries = 7m27s; Redis trims unread entries in 2m34s"},
		"PostgreSQL answers and refuses": {func(f *figures) { backlog(f); f.newestCommit = new(250 * time.Second) }, levelCritical,
			"no commits for 4m10s; behind 446,889 entries = 7m27s"},
		"stalled, newest commit unknown": {func(f *figures) { backlog(f); f.newestCommit = nil }, levelCritical, "nothing is being stored; behind 446,889 entries = 7m27s"},
		"a slow batch between the looks": {func(f *figures) { backlog(f); f.newestCommit = new(3 * time.Second) }, levelWarning,
			"falling behind: 100/s added, 0/s read; behind 446,889 entries = 7m27s"},
		"PostgreSQL away, nothing waits": {func(f *figures) { f.postgres, f.newestCommit = "connection refused", nil }, levelWarning,
			"100/s; lag 0; rows unknown (PostgreSQL: connection refused)"},
		"PostgreSQL away from here only": {func(f *figures) { f.postgres, f.pending, f.oldestPending = "no route to host", 10, new(time.Second) }, levelWarning,
			"100/s; lag 0; rows unknown (PostgreSQL: no route to host)"},
		"Redis away": {func(f *figures) { *f = figures{redis: "connection refused"} }, levelCritical, "state unknown (Redis: connection refused)"},
		"both away":  {func(f *figures) { *f = figures{redis: "a", postgres: "b"} }, levelCritical, "state unknown (Redis: a); rows unknown (PostgreSQL: b)"},
		"catching up": {func(f *figures) { backlog(f); f.added, f.read, f.done = new(1000.0), new(52_296.0), new(52_000.0) }, levelCatchingUp,
			"52,296/s, done in 9s; behind 446,889 entries = 7m27s"},
		"falling behind": {func(f *figures) { backlog(f); f.read, f.done = new(90.0), new(90.0) }, levelWarning,
			"falling behind: 100/s added, 90/s read; behind 446,889 entries = 7m27s"},
		"trimming within the hour": {func(f *figures) {
			backlog(f)
			f.read, f.done, f.trim, f.trimAtLeast = new(90.0), new(90.0), new(30*time.Minute), true
		}, levelWarning,
			"falling behind: 100/s added, 90/s read; behind 446,889 entries = 7m27s; Redis trims unread entries in 30m0s, or later"},
		"trimming now": {func(f *figures) { backlog(f); f.read, f.done, f.trim = new(90.0), new(90.0), new(time.Duration(0)) }, levelCritical,
			"falling behind: 100/s added, 90/s read; behind 446,889 entries = 7m27s; Redis trims unread entries now"},
		"trimming far away": {func(f *figures) { f.trim = new(2 * time.Hour) }, levelOK, "100/s; lag 0"},
		"one entry stuck": {func(f *figures) { f.pending, f.oldestPending = 1, new(6*time.Minute) }, levelWarning,
			"100/s; lag 0; the oldest of 1 entry pending was added 6m0s ago"},
		"only pending, nothing acknowledged": {func(f *figures) {
			f.added, f.read, f.done, f.pending, f.oldestPending, f.newestCommit = new(0.0), new(0.0), new(0.0), 3, new(2*time.Hour), new(2*time.Hour)
		}, levelCritical, "no commits for 2h0m0s; lag 0; 3 entries pending, the oldest added 2h0m0s ago"},
		"losses": {func(f *figures) { f.trimmedUnread, f.trimmedPending = 1234, 1 }, levelCritical,
			"100/s; lag 0; lost: 1,234 entries trimmed unread; 1 entry trimmed while pending, lost unless a worker holds them"},
		"possible losses": {func(f *figures) { f.doubtful = 5 }, levelWarning, "100/s; lag 0; possibly lost: 5 entries, since Redis's count of reads is not reliable"},
	}
	for name, c := range cases {
		f := well()
		c.change(&f)
		require.Equal(t, verdictView{c.level, c.text}, judge(f), name)
	}
}

func TestForecastTrim(t *testing.T) {
	lag := new(int64(4000))
	reach, atLeast := forecastTrim(10_000, lag, 50, 200, new(150.0), new(50.0))
	require.Equal(t, time.Minute, *reach)
	require.False(t, atLeast)
	reach, atLeast = forecastTrim(10_000, lag, 200, 200, new(150.0), new(50.0))
	require.Equal(t, time.Minute, *reach)
	require.True(t, atLeast, "trimming was not seen")
	for name, f := range map[string]func() (*time.Duration, bool){
		"never trimmed": func() (*time.Duration, bool) { return forecastTrim(10_000, lag, 0, 0, new(150.0), new(50.0)) },
		"keeps up":      func() (*time.Duration, bool) { return forecastTrim(10_000, lag, 0, 9, new(150.0), new(150.0)) },
		"only in flight": func() (*time.Duration, bool) {
			return forecastTrim(10_000, new(int64(299)), 0, 9, new(150.0), new(50.0))
		},
		"lag unknown":       func() (*time.Duration, bool) { return forecastTrim(10_000, nil, 0, 9, new(150.0), new(50.0)) },
		"rate unknown":      func() (*time.Duration, bool) { return forecastTrim(10_000, lag, 0, 9, nil, new(50.0)) },
		"read rate unknown": func() (*time.Duration, bool) { return forecastTrim(10_000, lag, 0, 9, new(50.0), nil) },
	} {
		reach, _ := f()
		require.Nil(t, reach, name)
	}
}

func TestCause_IsTheInnermostError(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"":                   nil,
		"connection refused": fmt.Errorf("connect to PostgreSQL: %w", errors.Join(errors.New("first address"), dial)),
		"FATAL: too many clients (SQLSTATE 53300)": fmt.Errorf("ask: %w", &pgconn.PgError{Severity: "FATAL", Message: "too many clients", Code: "53300"}),
		"two lines": errors.New("two\nlines"),
	} {
		require.Equal(t, want, cause(err))
	}
}

func TestLevel_IsTheSameInBothDirections(t *testing.T) {
	for l := levelOK; l <= levelCritical; l++ {
		text, err := json.Marshal(l)
		require.NoError(t, err)
		var back level
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, l, back)
	}
	require.Error(t, new(level).UnmarshalText([]byte("fine")))
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 446_889: "446,889", 1_000_000: "1,000,000", -999: "-999", -1000: "-1,000", -123_456: "-123,456"} {
		require.Equal(t, want, thousands(n))
	}
}

func TestFit_CutsToTheTerminal(t *testing.T) {
	view := "one\n\x1b[31mfailed\x1b[0m: long\n–––––––––\nfour\n"
	require.Equal(t, view, fit(view, 20, 4))
	require.Equal(t, "one\n\x1b[31mfail\x1b[0m\n––––\nfour\n", fit(view, 4, 4))
	require.Equal(t, "one\n… 3 more lines; enlarge the terminal\n", fit(view, 50, 2))
	require.Equal(t, "one", cutLine("one", 3))
}

func TestWrapParts_BreaksAtSemicolons(t *testing.T) {
	const text = "no commits; behind 5 entries; trimmed soon"
	require.Equal(t, text, wrapParts(text, 4, 0))
	require.Equal(t, text, wrapParts(text, 4, 80))
	require.Equal(t, "no commits;\n    behind 5 entries;\n    trimmed soon", wrapParts(text, 4, 24))
}

// The worst stream comes first, whatever its place in the flag.
func TestStatus_BeginsWithTheWorst(t *testing.T) {
	r := newRig(t)
	worse, none := r.stream+":worse", r.stream+":none"
	old := func(name string, seq int) {
		require.NoError(t, r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: name, ID: fmt.Sprintf("1000-%d", seq), Values: []any{"payload", goodPayload}}).Err())
	}
	for i := range 1500 {
		old(worse, i+1)
	}
	require.NoError(t, r.client.XGroupCreateMkStream(t.Context(), worse, "processor", "0").Err())
	old(r.stream, 1)
	stop := r.work()
	servertest.Until(t, "stored", func() bool {
		return len(r.rows()) == 1 && r.client.XPending(t.Context(), r.stream, "processor").Val().Count == 0
	})
	got := r.run("status", "--redis-stream", none+","+r.stream+","+worse)
	stop()
	require.Equal(t, ExitFailure, got.code)
	require.Equal(t, "processor: a stream is in a critical state\n", got.err)
	lines := strings.Split(got.out, "\n")
	require.Regexp(t, `^CRITICAL  `+worse+` +nobody reads this stream: the group has no consumer; behind 1,500 entries = [0-9hms]+$`, lines[0])
	require.Regexp(t, `^WARNING   `+none+` +stream does not exist`, lines[1])
	require.Regexp(t, `^OK        `+r.stream+` +0/s; lag 0$`, lines[2])
}

// What Redis trimmed before the group had it is a loss, as long as no worker has counted it.
func TestStatus_ShowsLosses(t *testing.T) {
	r := newRig(t)
	for range 5 {
		r.add(goodPayload)
	}
	c := stream.NewConsumer(r.client, r.stream, "processor", "reader")
	_, err := c.EnsureGroup(t.Context())
	require.NoError(t, err)
	_, err = c.ReadNew(t.Context(), new(stream.Batch), 2, time.Second, nil)
	require.NoError(t, err)
	stats, err := c.Stats(t.Context())
	require.NoError(t, err)
	_, err = c.Settle(t.Context(), stats)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, r.client.XTrimMaxLen(t.Context(), r.stream, 1).Err())
	got := r.run("status")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.out, "lost: 2 entries trimmed unread; 2 entries trimmed while pending, lost unless a worker holds them")
	require.Contains(t, got.out, "    lost          2 trimmed unread, 2 trimmed while pending, 0 possibly\n")
}
