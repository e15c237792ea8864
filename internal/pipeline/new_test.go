package pipeline

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// Entries are trimmed while no worker looks: a reader finds that before it reads, and over all
// replicas it is counted once.
func TestNewEntries_FindsALossBeforeItReads(t *testing.T) {
	c, client := newStreamOfTen(t, 3)
	name := c.Stream()
	p, log := newBare(t)
	require.NoError(t, client.XTrimMaxLen(t.Context(), name, 2).Err())

	other, _ := newConsumer(t, name)
	for _, l := range []*lane{p.newLane(c, nil), p.newLane(other, nil)} {
		require.NoError(t, l.new.join(t.Context()))
		require.Equal(t, 5.0, testutil.ToFloat64(p.Metrics.TrimmedUnread.WithLabelValues(name)))
	}
	require.Equal(t, []string{"error entries were trimmed from the stream before they were read; they are lost"}, messages(t, log))
	read(t, c, 2)
	require.NoError(t, p.newLane(c, nil).new.join(t.Context()))
	require.Equal(t, 5.0, testutil.ToFloat64(p.Metrics.TrimmedUnread.WithLabelValues(name)))
}

// Entries are trimmed between two reads. Where Redis counts them as read with the next read (8.0),
// that read finds them, otherwise the next check of the stream: once in either case.
func TestNewEntries_FindsALossAsItReads(t *testing.T) {
	c, client := newStreamOfTen(t, 3)
	name := c.Stream()
	p, log := newBare(t)
	l := p.newLane(c, nil)
	lost := func() float64 { return testutil.ToFloat64(p.Metrics.TrimmedUnread.WithLabelValues(name)) }
	require.NoError(t, l.new.join(t.Context()))
	require.NoError(t, client.XTrimMaxLen(t.Context(), name, 2).Err())
	require.Zero(t, lost())

	b, _, err := l.new.read(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, b.Entries, 2)
	for range 2 {
		_, err = p.countTrimmed(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, 5.0, lost())
	}
	require.Equal(t, []string{"error entries were trimmed from the stream before they were read; they are lost"}, messages(t, log))
}

// Every read finds some: the metric has them at once, the log no more often than the monitor looks,
// and the rest when the reader ends.
func TestNewEntries_SaysSeldomWhatIsLost(t *testing.T) {
	c, _ := newStreamOfTen(t, 3)
	p, log := newBare(t)
	l := p.newLane(c, nil)
	l.new.lost(0)
	require.Empty(t, messages(t, log))
	for range 5 {
		l.new.lost(2)
	}
	require.Equal(t, 10.0, testutil.ToFloat64(p.Metrics.TrimmedUnread.WithLabelValues(c.Stream())))
	require.Contains(t, log.String(), `"entries":2`)
	const line = "error entries were trimmed from the stream before they were read; they are lost"
	require.Equal(t, []string{line}, messages(t, log))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	l.read(ended, t.Context())
	require.Contains(t, log.String(), `"entries":8`)
	require.Equal(t, []string{line, line}, messages(t, log))
	l.new.sayLost(l.new.lostLog.rest())
	require.Equal(t, []string{line, line}, messages(t, log), "nothing is left to say")
}
