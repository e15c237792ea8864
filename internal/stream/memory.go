package stream

import (
	"math"
	"sync"
)

// memory is what the entries of one batch lie in. It serves another batch after release.
type memory struct {
	home    *memories
	entries []Entry
	// buffers[:used] hold the replies, those of a few entries in one of them; the others wait for further replies.
	buffers [][]byte
	used    int
	last    int // size of the last reply
}

// memories are those that wait to be used again; the garbage collector takes what is not used for long.
type memories struct{ pool sync.Pool }

func (p *memories) get() *memory {
	if free, ok := p.pool.Get().(*memory); ok {
		return free
	}
	return &memory{home: p}
}

// next returns the memory for the next reply, which may outgrow it: the rest of the last buffer where another reply of
// the same size fits, or a further buffer.
func (m *memory) next() []byte {
	if rest := m.rest(); cap(rest) >= m.last+room {
		return rest
	}
	if m.used < len(m.buffers) {
		return m.buffers[m.used][:0]
	}
	return nil
}

// rest is what is free of the buffer of the last reply.
func (m *memory) rest() []byte {
	if m.used == 0 {
		return nil
	}
	buf := m.buffers[m.used-1]
	return buf[len(buf):]
}

// keep takes the entries of the batch so far, and the reply that the latest of them lie in. Where none lies in it
// its memory is free for the next one.
func (m *memory) keep(entries []Entry, reply []byte, used bool) {
	m.entries, m.last = entries, len(reply)
	rest := m.rest()
	shared := cap(rest) > 0 && &rest[:1][0] == &reply[:1][0]
	switch {
	case shared && used:
		buf := &m.buffers[m.used-1]
		*buf = (*buf)[:len(*buf)+len(reply)]
		return
	case shared:
		return
	case m.used < len(m.buffers):
		m.buffers[m.used] = reply
	default:
		m.buffers = append(m.buffers, reply)
	}
	if used {
		m.used++
	}
}

// release makes the memory ready for another batch. It keeps the buffers that this one has used, and one at least,
// but for those that are far too large.
func (m *memory) release() {
	if overwriteReleased {
		m.overwrite()
	}
	kept := m.buffers[:0]
	for _, buf := range m.buffers[:min(max(m.used, 1), len(m.buffers))] {
		if fits(cap(buf), len(buf), keptBytes) {
			kept = append(kept, buf[:0])
		}
	}
	clear(m.buffers[len(kept):])
	m.buffers, m.used, m.last = kept, 0, 0
	clear(m.entries)
	if !fits(cap(m.entries), len(m.entries), keptEntries) {
		m.entries = nil
	}
	m.entries = m.entries[:0]
	m.home.pool.Put(m)
}

// keptBytes of a buffer, and keptEntries, are kept however few were used.
const (
	keptBytes   = 1 << 20
	keptEntries = 10_000
)

// fits reports whether memory is kept of which so much was used: a few large entries must not cost memory for ever.
func fits(size, used, always int) bool { return size <= always || used >= size/4 }

// overwrite makes it show where memory is used after release.
func (m *memory) overwrite() {
	for _, buf := range m.buffers {
		buf = buf[:cap(buf)]
		for i := range buf {
			buf[i] = 0xFF
		}
	}
	for i := range m.entries {
		m.entries[i] = Entry{ID: ID{math.MaxUint64, math.MaxUint64}}
	}
}
