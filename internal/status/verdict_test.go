package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
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
		level  Level
		text   string
	}{
		"well": {func(*figures) {}, OK, "100/s; lag 0"},
		"in flight": {func(f *figures) {
			f.lag, f.pending, f.oldestUnread, f.oldestPending, f.done = new(int64(80)), 90, new(time.Second), new(time.Second), new(0.0)
		}, OK, "100/s; behind 80 entries = 1s"},
		"nothing published": {func(f *figures) {
			f.added, f.read, f.done, f.newestCommit = new(0.0), new(0.0), new(0.0), new(9*time.Hour)
		}, OK, "0/s; lag 0"},
		"rates unknown": {func(f *figures) { f.added, f.read, f.done = nil, nil, nil }, OK, "rate unknown; lag 0"},
		"lag unknown":   {func(f *figures) { f.lag, f.oldestUnread = nil, new(2*time.Second) }, OK, "100/s; behind an unknown number of entries = 2s"},
		"no stream":     {func(f *figures) { *f = figures{group: "processor"} }, Warning, "stream does not exist: nothing was published, or REDIS_STREAM is wrong"},
		"no group":      {func(f *figures) { f.hasGroup = false }, Critical, "nobody reads this stream: group processor does not exist; 5,000 entries waiting"},
		"no group, nothing waits": {func(f *figures) { f.hasGroup, f.length = false, 0 }, Warning,
			"nobody reads this stream: group processor does not exist; 0 entries waiting"},
		"no consumer": {func(f *figures) { backlog(f); f.consumers, f.pending = 0, 0 }, Critical,
			"nobody reads this stream: the group has no consumer; behind 446,889 entries = 7m27s"},
		"no consumer, nothing waits": {func(f *figures) { f.consumers = 0 }, Warning, "nobody reads this stream: the group has no consumer; lag 0"},
		"silent consumers":           {func(f *figures) { backlog(f); f.idle = 4 * time.Minute }, Critical, "nobody reads this stream: no consumer has asked for 4m0s; behind 446,889 entries = 7m27s"},
		"held": {func(f *figures) {
			backlog(f)
			f.postgres, f.idle, f.newestCommit = "connection refused", 4*time.Minute, nil
			f.trim = new(2*time.Minute + 34*time.Second)
		}, Critical, "nothing is being stored, nor read for 4m0s (PostgreSQL: connection refused); behind 446,889 entries = 7m27s; Redis trims unread entries in 2m34s"},
		"PostgreSQL answers and refuses": {func(f *figures) { backlog(f); f.newestCommit = new(250 * time.Second) }, Critical,
			"no commits for 4m10s; behind 446,889 entries = 7m27s"},
		"stalled, newest commit unknown": {func(f *figures) { backlog(f); f.newestCommit = nil }, Critical, "nothing is being stored; behind 446,889 entries = 7m27s"},
		"a slow batch between the looks": {func(f *figures) { backlog(f); f.newestCommit = new(3 * time.Second) }, Warning,
			"falling behind: 100/s added, 0/s read; behind 446,889 entries = 7m27s"},
		"PostgreSQL away, nothing waits": {func(f *figures) { f.postgres, f.newestCommit = "connection refused", nil }, Warning,
			"100/s; lag 0; rows unknown (PostgreSQL: connection refused)"},
		"PostgreSQL away from here only": {func(f *figures) { f.postgres, f.pending, f.oldestPending = "no route to host", 10, new(time.Second) }, Warning,
			"100/s; lag 0; rows unknown (PostgreSQL: no route to host)"},
		"Redis away": {func(f *figures) { *f = figures{redis: "connection refused"} }, Critical, "state unknown (Redis: connection refused)"},
		"both away":  {func(f *figures) { *f = figures{redis: "a", postgres: "b"} }, Critical, "state unknown (Redis: a); rows unknown (PostgreSQL: b)"},
		"catching up": {func(f *figures) { backlog(f); f.added, f.read, f.done = new(1000.0), new(52_296.0), new(52_000.0) }, CatchingUp,
			"52,296/s, done in 9s; behind 446,889 entries = 7m27s"},
		"falling behind": {func(f *figures) { backlog(f); f.read, f.done = new(90.0), new(90.0) }, Warning,
			"falling behind: 100/s added, 90/s read; behind 446,889 entries = 7m27s"},
		"trimming within the hour": {func(f *figures) {
			backlog(f)
			f.read, f.done, f.trim, f.trimAtLeast = new(90.0), new(90.0), new(30*time.Minute), true
		}, Warning,
			"falling behind: 100/s added, 90/s read; behind 446,889 entries = 7m27s; Redis trims unread entries in 30m0s, or later"},
		"trimming now": {func(f *figures) { backlog(f); f.read, f.done, f.trim = new(90.0), new(90.0), new(time.Duration(0)) }, Critical,
			"falling behind: 100/s added, 90/s read; behind 446,889 entries = 7m27s; Redis trims unread entries now"},
		"trimming far away": {func(f *figures) { f.trim = new(2 * time.Hour) }, OK, "100/s; lag 0"},
		"one entry stuck": {func(f *figures) { f.pending, f.oldestPending = 1, new(6*time.Minute) }, Warning,
			"100/s; lag 0; the oldest of 1 entry pending was added 6m0s ago"},
		"only pending, nothing acknowledged": {func(f *figures) {
			f.added, f.read, f.done, f.pending, f.oldestPending, f.newestCommit = new(0.0), new(0.0), new(0.0), 3, new(2*time.Hour), new(2*time.Hour)
		}, Critical, "no commits for 2h0m0s; lag 0; 3 entries pending, the oldest added 2h0m0s ago"},
		"losses": {func(f *figures) { f.trimmedUnread, f.trimmedPending = 1234, 1 }, Critical,
			"100/s; lag 0; lost: 1,234 entries trimmed unread; 1 entry trimmed while pending, lost unless a worker holds them"},
		"possible losses": {func(f *figures) { f.doubtful = 5 }, Warning, "100/s; lag 0; possibly lost: 5 entries, since Redis's count of reads is not reliable"},
	}
	for name, c := range cases {
		f := well()
		c.change(&f)
		require.Equal(t, Verdict{c.level, c.text}, judge(f), name)
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
	for l := OK; l <= Critical; l++ {
		text, err := json.Marshal(l)
		require.NoError(t, err)
		var back Level
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, l, back)
	}
	require.Error(t, new(Level).UnmarshalText([]byte("fine")))
}
