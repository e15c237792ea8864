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

	// Of a reply that was given up only a part was seen.
	given := newSizer(5000, maxBytes)
	for range 5 {
		fill(&given, 500)
	}
	given.tooLarge(replyEntries, given.maxReply())
	require.Equal(t, replyEntries/2, given.count(0, 0))

	// Small ones again: it takes a few replies until as many are asked for as before.
	replies := 0
	for s.count(0, 0) < replyEntries {
		n := s.count(0, 0)
		s.observe(n, n*500)
		replies++
	}
	require.Equal(t, 4, replies)
}
