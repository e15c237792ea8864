package pipeline

// sizer picks COUNT so that a batch stays below a number of bytes. Redis counts entries, not
// bytes, so it goes by the entries seen: cautious at first, and after large ones for a while.
type sizer struct {
	maxEntries int
	maxBytes   int
	perEntry   float64 // bytes; the larger of the last reply's mean and half the mean before
	most       int     // entries of a reply after one that broke off; 0 is no such bound
	whole      int     // replies of that many entries that came since
}

// replyEntries bounds the entries of one reply, so that their size is known before many are asked for.
const replyEntries = 1000

// firstGuess of an entry's size keeps the first read small even for large payloads.
const firstGuess = 1 << 20

func newSizer(maxEntries, maxBytes int) sizer {
	return sizer{maxEntries: maxEntries, maxBytes: maxBytes, perEntry: firstGuess}
}

// count says how many entries to ask for when a batch has that many entries and bytes already;
// 0 where it is full.
func (s *sizer) count(entries, bytes int) int {
	room := min(int(float64(s.maxBytes-bytes)/s.perEntry), s.maxEntries-entries, replyEntries)
	if s.most > 0 {
		room = min(room, s.most)
	}
	if entries == 0 {
		return max(room, 1) // an entry that is larger than a batch has to be read too
	}
	return max(room, 0)
}

// maxReply bounds the bytes of one reply: it cannot cost more where sizes change suddenly.
func (s *sizer) maxReply() int { return 2 * s.maxBytes }

// tooLarge learns from a reply that went beyond maxReply.
func (s *sizer) tooLarge(asked, bytes int) {
	s.perEntry = max(float64(bytes)/float64(asked), s.perEntry)
}

// wholeReplies of a bounded size must come before a larger one is tried: a reply that breaks off costs a
// connection, and a further delivery of its entries.
const wholeReplies = 64

// broken learns from a reply of up to so many entries that did not arrive as a whole: the next ones are half
// as large, down to a single entry.
func (s *sizer) broken(asked int) { s.most, s.whole = max(asked/2, 1), 0 }

// observe learns from a reply.
func (s *sizer) observe(entries, bytes int) {
	if s.most > 0 && entries >= s.most {
		s.whole++
	}
	if s.whole == wholeReplies {
		s.most, s.whole = 2*s.most, 0
	}
	if s.most >= replyEntries {
		s.most = 0
	}
	s.perEntry = max(float64(bytes)/float64(entries), s.perEntry/2)
}
