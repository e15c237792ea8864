package doctor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReport_Clock(t *testing.T) {
	cases := map[string]struct {
		offset time.Duration
		state  State
	}{
		"right":  {0, OK},
		"near":   {900 * time.Millisecond, OK},
		"ahead":  {time.Minute, Warning},
		"behind": {-time.Minute, Warning},
	}
	for name, c := range cases {
		r := &report{server: "redis"}
		require.NoError(t, r.clock(t.Context(), func(context.Context) (time.Time, error) {
			return time.Now().Add(c.offset), nil
		}))
		require.Len(t, r.findings, 1)
		require.Equal(t, c.state, r.findings[0].State, name)
		require.Equal(t, c.state == OK, r.findings[0].Hint == "", name)
	}
	wrong := errors.New("no answer")
	require.Equal(t, wrong, (&report{}).clock(t.Context(), func(context.Context) (time.Time, error) { return time.Time{}, wrong }))
}

func TestVersion_Before(t *testing.T) {
	for _, older := range []string{"2.18.0", "2.17.9", "1.99", "2", ""} {
		require.True(t, parseVersion(older).before(oldestTimescaleDB), older)
	}
	for _, newer := range []string{"2.18.1", "2.18.1-dev", "2.19.0", "2.28.3", "3", "10.0"} {
		require.False(t, parseVersion(newer).before(oldestTimescaleDB), newer)
	}
	require.Equal(t, "7.0.15", parseVersion("7.0.15.99-rc1").String())
}
