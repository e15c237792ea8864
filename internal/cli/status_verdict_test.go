package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
	"processor/internal/stream"
)

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
