package pipeline

// sizer picks COUNT so that a batch stays below a number of bytes. Redis counts entries, not
// bytes, so it goes by the entries seen: cautious at first, and after large ones for a while.
type sizer struct {
	maxEntries int
	maxBytes   int
	perEntry   float64 // bytes; the larger of the last reply's mean and half the mean before

	// maxReplyEntries bounds the entries of a reply. It falls when a reply broke off, and doubles after
	// growAfter that did not.
	maxReplyEntries int
	whole           int // replies since then
}

// growAfter is so many replies that a link that breaks off larger ones is seldom tried.
const growAfter = 64

// replyEntries bounds the entries of one reply, so that their size is known before many are asked for.
const replyEntries = 1000

// firstGuess of an entry's size keeps the first read small even for large payloads.
const firstGuess = 1 << 20

func newSizer(maxEntries, maxBytes int) sizer {
	return sizer{maxEntries: maxEntries, maxBytes: maxBytes, perEntry: firstGuess, maxReplyEntries: replyEntries}
}

// count says how many entries to ask for when a batch has that many entries and bytes already;
// 0 where it is full.
func (s *sizer) count(entries, bytes int) int {
	room := min(int(float64(s.maxBytes-bytes)/s.perEntry), s.maxEntries-entries, s.maxReplyEntries)
	if entries == 0 {
		return max(room, 1) // an entry that is larger than a batch has to be read too
	}
	return max(room, 0)
}

// maxReply bounds the bytes of one reply: it cannot cost more where sizes change suddenly.
func (s *sizer) maxReply() int { return 2 * s.maxBytes }

// broke learns from a reply that broke off after so many bytes. One that was larger than a batch says what its
// entries weigh; any other one, that replies must be smaller.
func (s *sizer) broke(asked, bytes int) {
	s.perEntry = max(float64(bytes)/float64(asked), s.perEntry)
	if bytes <= s.maxBytes {
		s.maxReplyEntries, s.whole = max(asked/2, 1), 0
	}
}

// atFullSize reports whether replies are as large as they may be.
func (s *sizer) atFullSize() bool { return s.maxReplyEntries == replyEntries }

// observe learns from a reply.
func (s *sizer) observe(entries, bytes int) {
	s.perEntry = max(float64(bytes)/float64(entries), s.perEntry/2)
	if s.whole++; s.whole >= growAfter {
		s.maxReplyEntries, s.whole = min(2*s.maxReplyEntries, replyEntries), 0
	}
}
