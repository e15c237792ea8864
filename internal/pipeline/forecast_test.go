package pipeline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/stream"
)

// flow is a stream at a limit, as looks every five seconds see it.
type flow struct {
	added, read float64 // so many a second
	batch       int64   // reads advance by so many at once
	limit       int64   // MAXLEN
	node        int64   // Redis trims so many at once
	lag         int64   // in the beginning
}

// stats are those after so many seconds.
func (f flow) stats(seconds int) stream.Stats {
	const before = 1_000_000 // added before the first look
	added := before + int64(f.added*float64(seconds))
	read := before - f.lag + int64(f.read*float64(seconds))/f.batch*f.batch
	trimmed := max(added-f.limit, 0) / f.node * f.node
	return stream.Stats{Added: &added, Read: new(min(read, added)), Length: added - trimmed}
}

func TestForecast_TellsWhenTrimmingReachesUnread(t *testing.T) {
	const never = 0
	cases := map[string]struct {
		flow     flow
		from     int     // seconds until the gauge is there; never
		seconds  int     // then
		left     float64 // minutes left, at the end
		warnings int
	}{
		"never trimmed":                  {flow{1000, 800, 2500, 1 << 40, 100, 0}, never, 600, 0, 0},
		"reading keeps up":               {flow{1000, 1000, 2500, 100_000, 100, 0}, never, 600, 0, 0},
		"reading keeps up, far behind":   {flow{1000, 1000, 2500, 100_000, 100, 50_000}, never, 600, 0, 0},
		"reading catches up":             {flow{1000, 1200, 2500, 100_000, 100, 90_000}, never, 400, 0, 0},
		"a fifth is left unread":         {flow{1000, 800, 2500, 300_000, 100, 0}, 120, 600, 15, 0},
		"a fifth, and soon there":        {flow{1000, 800, 2500, 200_000, 100, 0}, 120, 600, 6.7, 1},
		"a tenth is left unread":         {flow{1000, 900, 2500, 100_000, 100, 0}, 120, 600, 6.7, 1},
		"a trickle that nobody reads":    {flow{1, 0, 1, 1000, 100, 0}, 100, 600, 6.7, 1},
		"a rare entry that nobody reads": {flow{0.2, 0, 1, 1000, 100, 0}, 500, 1200, 66, 0},
		// Reads have stopped, as in an outage: this is known after 15 s.
		"an outage":                        {flow{1000, 0, 1, 500_000, 100, 0}, 15, 300, 3.3, 1},
		"an outage, the stream is short":   {flow{1000, 0, 1, 60_000, 100, 0}, 15, 45, 0.25, 1},
		"an outage before any trimming":    {flow{1000, 0, 1, 1_200_000, 100, 0}, 200, 600, 13.3, 0},
		"an outage, and nothing is added":  {flow{0, 0, 1, 500_000, 100, 0}, never, 600, 0, 0},
		"reads in batches every 10 s, all": {flow{1000, 1000, 10_000, 500_000, 100, 0}, never, 600, 0, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var f forecast
			start := time.Now()
			from, warnings := never, 0
			var reach *time.Duration
			for s := 0; s <= c.seconds; s += 5 {
				now := start.Add(time.Duration(s) * time.Second)
				reach = f.update(now, c.flow.stats(s))
				if f.warns(now, reach) {
					warnings++
				}
				if reach != nil && from == never {
					from = s
				}
				require.False(t, reach == nil && from != never, "it was there at %d s, and is not at %d s", from, s)
			}
			require.Equal(t, c.warnings, warnings)
			require.InDelta(t, c.from, from, 15)
			if c.from == never {
				return
			}
			require.InEpsilon(t, c.left, reach.Minutes(), 0.3)
			require.Less(t, len(f.looks), 20)
		})
	}
}

func TestForecast_EndsAndBeginsAnew(t *testing.T) {
	var f forecast
	now := time.Now()
	step := func(s stream.Stats) (*time.Duration, bool) {
		now = now.Add(5 * time.Second)
		reach := f.update(now, s)
		return reach, f.warns(now, reach)
	}
	overload := flow{1000, 800, 2500, 200_000, 100, 100_000}
	warnings := 0
	for s := 0; s <= 200; s += 5 {
		if _, warned := step(overload.stats(s)); warned {
			warnings++
		}
	}
	require.Equal(t, 1, warnings)

	// Redis has lost count for a moment: the forecast goes, and comes back without a further warning.
	s := overload.stats(205)
	s.Read = nil
	reach, _ := step(s)
	require.Nil(t, reach)
	require.Empty(t, f.looks)

	// The stream is made anew.
	reach, _ = step(overload.stats(210))
	require.Nil(t, reach)
	reach, _ = step(stream.Stats{Added: new(int64(10)), Read: new(int64(5)), Length: 10})
	require.Nil(t, reach)
	require.Len(t, f.looks, 1)
	for s := 0; s <= 200; s += 5 {
		if _, warned := step(overload.stats(s)); warned {
			warnings++
		}
	}
	require.Equal(t, 2, warnings, "after minutes it is news again")
}

// Trimming has got there: what is lost counts as read, and is no sign that reading is fast.
func TestForecast_IsZeroWhileEntriesAreLost(t *testing.T) {
	overload := flow{1000, 800, 2500, 100_000, 100, 100_000}
	var f forecast
	start, lost := time.Now(), int64(0)
	for s := 0; s <= 600; s += 5 {
		stats := overload.stats(s)
		*stats.Read += lost
		stats.TrimmedUnread = max(*stats.Added-stats.Length-*stats.Read, 0)
		lost += stats.TrimmedUnread // and is settled
		reach := f.update(start.Add(time.Duration(s)*time.Second), stats)
		if s >= 120 {
			require.NotNil(t, reach)
			require.LessOrEqual(t, *reach, time.Minute)
		}
	}
	require.Greater(t, lost, int64(100_000))
}
