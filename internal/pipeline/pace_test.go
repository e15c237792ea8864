package pipeline

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/stream"
)

func TestPace_TellsWhenTheLagIsRead(t *testing.T) {
	const looks = 12
	for name, c := range map[string]struct {
		lag, added, read int64 // the lag in the beginning, and entries a second
		unknownAt        int   // look at which Redis cannot tell the lag
		want             string
	}{
		"no backlog":                    {0, 1000, 1000, -1, "0s"},
		"what is in flight":             {1500, 1000, 1000, -1, "0s"},
		"catching up":                   {1_000_000, 1000, 6000, -1, "2m25s"},
		"nothing comes in any more":     {100_000, 0, 1000, -1, "45s"},
		"falling behind":                {1_000_000, 1000, 900, -1, "unknown"},
		"as fast as entries come":       {1_000_000, 1000, 1000, -1, "unknown"},
		"nothing is read":               {10_000, 1000, 0, -1, "unknown"},
		"the lag is not known":          {1_000_000, 1000, 6000, looks - 1, "unknown"},
		"the lag was not known earlier": {1_000_000, 1000, 6000, 3, "2m25s"},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			start, got := time.Now(), ""
			for i := range looks {
				s := int64(i) * 5
				added, read := 10_000_000+c.added*s, 10_000_000-c.lag+c.read*s
				counts := stream.Counts{Added: &added, Read: &read, Lag: new(added - read), LastDelivered: stream.ID{Millis: uint64(read)}}
				if i == c.unknownAt {
					counts.Lag = nil
				}
				got = "unknown"
				if left := p.update(start.Add(time.Duration(s)*time.Second), counts); left != nil {
					got = fmt.Sprint(left.Round(time.Second))
				}
			}
			require.Equal(t, c.want, got)
			require.LessOrEqual(t, len(p.looks), 5)
		})
	}
}

func TestPace_OneLookIsNone(t *testing.T) {
	var p pace
	require.Nil(t, p.update(time.Now(), stream.Counts{Added: new(int64(10)), Read: new(int64(5)), Lag: new(int64(5))}))
	p = pace{}
	require.Equal(t, new(time.Duration), p.update(time.Now(), stream.Counts{Added: new(int64(10)), Read: new(int64(10)), Lag: new(int64(0))}))
}
