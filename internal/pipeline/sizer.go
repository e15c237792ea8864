package pipeline

// sizer picks COUNT so that a reply stays below a number of bytes. Redis counts entries, not
// bytes, so it goes by the entries seen: cautious at first, and after large ones for a while.
type sizer struct {
	maxEntries int
	maxBytes   int
	perEntry   float64 // bytes; the larger of the last batch's mean and the decayed mean before
}

// firstGuess of an entry's size keeps the first read small enough even for large payloads.
const firstGuess = 16 << 10

func newSizer(maxEntries, maxBytes int) sizer {
	return sizer{maxEntries: maxEntries, maxBytes: maxBytes, perEntry: firstGuess}
}

func (s *sizer) count() int {
	return min(max(int(float64(s.maxBytes)/s.perEntry), 1), s.maxEntries)
}

func (s *sizer) observe(entries, bytes int) {
	s.perEntry = max(float64(bytes)/float64(entries), s.perEntry/2)
}
