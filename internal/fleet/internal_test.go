package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIMEI_CheckDigit(t *testing.T) {
	require.Equal(t, "356307040000001", imei(0))
	require.Equal(t, "490154203237518", imei(49015420323751-firstIMEI)) // a known IMEI
}

func TestPacer_KeepsTheRate(t *testing.T) {
	const ms = time.Millisecond
	tests := map[string]struct {
		rate  float64
		ticks []time.Duration // since the tick before
		want  []int64
	}{
		"steady":                          {1000, []time.Duration{0, 10 * ms, 10 * ms, 10 * ms}, []int64{1, 10, 10, 10}},
		"late and early ticks":            {1000, []time.Duration{0, 17 * ms, 3 * ms, 25 * ms}, []int64{1, 17, 3, 25}},
		"slower than the ticks":           {0.5, []time.Duration{0, 999 * ms, 1000 * ms, 1 * ms, 2000 * ms}, []int64{1, 0, 0, 1, 1}},
		"stall made up at twice the rate": {1000, []time.Duration{0, 100 * ms, 10 * ms, 10 * ms, 10 * ms, 10 * ms}, []int64{1, 80, 20, 20, 10, 10}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(0, 0)
			p := newPacer(test.rate, now)
			var got []int64
			for _, d := range test.ticks {
				now = now.Add(d)
				got = append(got, p.due(now))
			}
			require.Equal(t, test.want, got)
		})
	}
}
