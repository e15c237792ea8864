package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewBackOff_GrowsToTwoSeconds(t *testing.T) {
	b := NewBackOff()
	for _, mean := range []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000} {
		require.InDelta(t, mean*time.Millisecond, b.NextBackOff(), float64(mean*time.Millisecond)/2+1)
	}
	b.Reset()
	require.LessOrEqual(t, b.NextBackOff(), 75*time.Millisecond)
}

func TestSleepUntil_EndsWithWhatComesFirst(t *testing.T) {
	stopped, closed := errors.New("stopped"), make(chan struct{})
	close(closed)
	cases := map[string]struct {
		d    time.Duration
		stop time.Duration // when the context ends; 0 is never
		done <-chan struct{}
		took time.Duration
		err  error
	}{
		"time":                  {time.Second, 0, nil, time.Second, nil},
		"no time":               {-time.Second, 0, nil, 0, nil},
		"the context":           {time.Minute, time.Second, nil, time.Second, stopped},
		"time, not the context": {time.Second, time.Minute, nil, time.Second, nil},
		"done":                  {time.Minute, 0, closed, 0, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.stop > 0 {
					defer time.AfterFunc(c.stop, func() { cancel(stopped) }).Stop()
				}
				began := time.Now()
				require.ErrorIs(t, SleepUntil(ctx, c.d, c.done), c.err)
				require.Equal(t, c.took, time.Since(began))
			})
		})
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	require.ErrorIs(t, Sleep(ended, 0), stopped)
}
