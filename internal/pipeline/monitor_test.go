package pipeline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/stream"
)

func TestForecast_TellsWhenTrimmingReachesUnread(t *testing.T) {
	type look struct {
		length, added, read int64
	}
	minute := func(n float64) *time.Duration {
		d := time.Duration(n * float64(time.Minute))
		return &d
	}
	cases := map[string]struct {
		looks []look // one a minute
		want  *time.Duration
		near  bool
	}{
		"never trimmed":               {[]look{{100, 100, 50}, {200, 200, 60}, {300, 300, 70}, {400, 400, 80}}, nil, false},
		"trimmed, reading keeps pace": {[]look{{100, 200, 190}, {100, 300, 290}, {100, 400, 390}, {100, 500, 490}}, nil, false},
		"closing in for two looks":    {[]look{{1000, 2000, 1900}, {1000, 2100, 1900}, {1000, 2200, 1900}}, nil, false},
		"closing in":                  {[]look{{1000, 2000, 1900}, {1000, 2100, 1900}, {1000, 2200, 1900}, {1000, 2300, 1900}}, minute(6), true},
		"closing in slowly":           {[]look{{1000, 2000, 1900}, {1000, 2100, 1990}, {1000, 2200, 2080}, {1000, 2300, 2170}}, minute(87), false},
		"has got there":               {[]look{{100, 2000, 1950}, {100, 2100, 1950}, {100, 2200, 1950}, {100, 2300, 1950}}, minute(0), true},
		"Redis has lost count":        {[]look{{100, 200, 0}, {100, 300, 0}, {100, 400, 0}, {100, 500, 0}}, nil, false},
	}
	for name, c := range cases {
		var f forecast
		var got *time.Duration
		now := time.Now()
		for _, l := range c.looks {
			got = f.update(now, stream.Stats{Length: l.length, Added: l.added, Read: l.read})
			now = now.Add(time.Minute)
		}
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.near, f.near, name)
	}
}

func TestProgress_StallsAfterAMinuteWithoutAnEnd(t *testing.T) {
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	g := progress{at: start}
	require.False(t, g.stalled(at(300), false, observe.LedgerSnapshot{}), "nothing to do is no stall")
	require.False(t, g.stalled(at(350), true, observe.LedgerSnapshot{Read: 10, InFlight: 10}))
	require.True(t, g.stalled(at(361), true, observe.LedgerSnapshot{Read: 10, InFlight: 10}))
	require.False(t, g.stalled(at(362), true, observe.LedgerSnapshot{Read: 10, InFlight: 9}), "one was finished")
	require.False(t, g.stalled(at(420), true, observe.LedgerSnapshot{Read: 12, InFlight: 11}), "reading is no progress")
	require.True(t, g.stalled(at(423), true, observe.LedgerSnapshot{Read: 12, InFlight: 11}))
}
