package pipeline

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// fill reads a batch of entries of one size, and returns how many it got and the largest reply.
func fill(s *sizer, size int) (entries, largest int) {
	for bytes := 0; ; bytes = entries * size {
		asked := s.count(entries, bytes)
		if asked == 0 {
			return entries, largest
		}
		entries += asked
		largest = max(largest, asked*size)
		s.observe(asked, asked*size)
	}
}

func TestSizer_StaysBelowItsBytes(t *testing.T) {
	const maxBytes = 16 << 20
	cases := map[string]struct {
		size, entries int
	}{
		"small entries: the number bounds": {500, 5000},
		"200 KB: the bytes bound":          {200 << 10, 81},
		"larger than a batch: one by one":  {20 << 20, 1},
	}
	for name, c := range cases {
		s := newSizer(5000, maxBytes)
		fill(&s, c.size)
		for range 3 {
			entries, _ := fill(&s, c.size)
			require.InDelta(t, c.entries, entries, 1, name)
		}
	}
	s := newSizer(5000, maxBytes)
	_, largest := fill(&s, 1<<20)
	require.LessOrEqual(t, largest, maxBytes, "nothing is known before the first reply")
}

// From one reply to the next the entries become large, and those after it fit.
func TestSizer_LearnsFromOneReply(t *testing.T) {
	const maxBytes, large = 16 << 20, 200 << 10
	s := newSizer(5000, maxBytes)
	for range 5 {
		fill(&s, 500)
	}
	first := s.count(0, 0)
	require.Equal(t, replyEntries, first)
	s.observe(first, first*large)
	require.Zero(t, s.count(first, first*large), "the batch is full")
	require.Equal(t, maxBytes/large, s.count(0, 0))

	// Small ones again: it takes a few replies until as many are asked for as before.
	replies := 0
	for s.count(0, 0) < replyEntries {
		n := s.count(0, 0)
		s.observe(n, n*500)
		replies++
	}
	require.Equal(t, 4, replies)
}

// A reply that broke off is followed by smaller ones, down to a single entry, and by larger ones again
// after some that arrived whole.
func TestSizer_AsksForFewerAfterABrokenReply(t *testing.T) {
	s := newSizer(5000, 16<<20)
	for range 5 {
		fill(&s, 500)
	}
	var asked []int
	for s.count(0, 0) > 1 {
		n := s.count(0, 0)
		asked = append(asked, n)
		s.broke(n, 0)
	}
	require.Equal(t, []int{1000, 500, 250, 125, 62, 31, 15, 7, 3}, asked)
	s.broke(1, 0)
	require.Equal(t, 1, s.count(0, 0))
	for range growAfter {
		require.Equal(t, 1, s.count(0, 0))
		s.observe(1, 500)
	}
	require.Equal(t, 2, s.count(0, 0))
	for range 10 * growAfter {
		s.observe(s.count(0, 0), 500*s.count(0, 0))
	}
	require.Equal(t, replyEntries, s.count(0, 0))

	// The reply was larger than a batch.
	s.broke(replyEntries, s.maxReply())
	require.Equal(t, replyEntries/2, s.count(0, 0), "the bytes say something of the entries")
	require.True(t, s.atFullSize())
	s.broke(replyEntries, 1000)
	require.False(t, s.atFullSize())
}
