package stream

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// errTooLarge: what is kept of the reply goes beyond limits.reply.
var errTooLarge = errors.New("reply is too large")

const (
	// maxLength is Redis's default proto-max-bulk-len, the maximum size of a string.
	maxLength = 512 << 20
	// maxDepth bounds how deep the arrays of a reply are nested; those with entries have five levels.
	maxDepth = 16
	// announced bounds the memory that is allocated because of an announced length.
	announced = 1 << 20
	// progressStep is the number of bytes after which progress is reported, and the maximum of one read.
	progressStep = 256 << 10
	// maxLine bounds a line: that of an error may be long.
	maxLine = 256 << 10
	// room is what a buffer has free when the connection is read, so that one system call brings many entries.
	room = 32 << 10
)

// limits bound the memory of one reply.
type limits struct {
	// reply bounds the bytes that are kept of a reply; 0 is no bound.
	reply int
	// entry bounds the bytes of an entry that is kept as a whole; 0 is no bound.
	entry int
	// depth is the number of arrays around the field list of an entry in the reply; 0 means that the reply
	// has no entries.
	depth int
}

// Depths of the field lists: [stream [entry [id fields]]…] and so on.
const (
	rangeDepth = 2 // XRANGE
	claimDepth = 3 // XAUTOCLAIM
	readDepth  = 4 // XREADGROUP
	execDepth  = 5 // XREADGROUP in a transaction
)

// reader reads replies in RESP2 from a connection straight into the memory that they stay in. Of an entry that is
// larger than limits.entry it keeps the beginning, and in front of that its size in bytes: ~<size>\r\n. No reply of
// Redis can hold such a line, since RESP2 has no kind ~.
type reader struct {
	conn     io.Reader
	limits   limits
	progress func()
	received int // bytes since begin
	skipped  int // of these, bytes of large entries that were not kept
	told     int // value of received at the last call of progress
	cut      excerpt

	// buf holds what has arrived: buf[:kept] of the reply is kept, buf[kept:pos] is not, and buf[pos:] is yet to be
	// looked at.
	buf       []byte
	kept, pos int
}

// begin sets what holds for the next replies, which are read into the memory of buf as far as that suffices.
func (w *reader) begin(buf []byte, l limits, progress func()) {
	w.limits, w.progress = l, progress
	w.received, w.skipped, w.told = 0, 0, 0
	w.buf, w.kept, w.pos = buf[:0], 0, 0
}

// end forgets the memory, which is its owner's from now on, and reports whether all that has arrived was read.
func (w *reader) end() bool {
	all := w.pos == len(w.buf)
	w.buf, w.kept, w.pos = nil, 0, 0
	return all
}

// reply reads one whole reply. It is valid until the next one is read: that takes its place.
func (w *reader) reply() ([]byte, error) {
	w.kept = 0
	line, err := w.line()
	if err != nil {
		return nil, err
	}
	switch line[0] {
	case '+', '-', ':': // stays where it is: what comes behind it need not be moved twice
		w.pos += len(line)
		return line, whole(line)
	}
	w.close()
	err = w.elements()
	return w.buf[:w.kept], err
}

// elements reads a string, or an array with all that is in it.
func (w *reader) elements() error {
	var open [maxDepth]int // elements to come of each array that has begun
	depth := 0
	for {
		at := w.pos
		line, err := w.line()
		if err != nil {
			return err
		}
		kind, n := line[0], 0
		switch kind {
		case '+', '-', ':':
			err = whole(line)
		case '$', '*':
			n, err = length(line)
		default:
			err = errProtocol
		}
		if err == nil {
			err = w.keep(len(line))
		}
		switch {
		case err != nil:
			return err
		case kind == '$' && n >= 0:
			err = w.bytes(n + len("\r\n"))
		case kind == '*' && n > 0 && depth > 0 && depth == w.limits.depth:
			err = w.fields(at, n)
		case kind == '*' && n > 0:
			if depth == maxDepth {
				return errProtocol
			}
			open[depth] = n
			depth++
			continue
		}
		if err != nil {
			return err
		}
		for ; depth > 0; depth-- {
			if open[depth-1]--; open[depth-1] > 0 {
				break
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

// whole returns an error where a line does not end as it should.
func whole(line []byte) error {
	if !bytes.HasSuffix(line, []byte("\r\n")) {
		return errProtocol
	}
	return nil
}

// keep takes the next n bytes, which have arrived, into the reply.
func (w *reader) keep(n int) error {
	if w.beyond(n) {
		return errTooLarge
	}
	w.pos += n
	w.kept = w.pos
	return nil
}

// beyond reports whether n further bytes do not fit into the reply.
func (w *reader) beyond(n int) bool { return w.limits.reply > 0 && n > w.limits.reply-w.kept }

// bytes takes the next n bytes into the reply.
func (w *reader) bytes(n int) error {
	if w.beyond(n) {
		return errTooLarge
	}
	if err := w.arrive(n); err != nil {
		return err
	}
	return w.keep(n)
}

// skip passes the next n bytes and does not keep them.
func (w *reader) skip(n int) error {
	for n > len(w.buf)-w.pos {
		n -= len(w.buf) - w.pos
		w.pos = len(w.buf)
		if err := w.more(1); err != nil {
			return err
		}
	}
	w.pos += n
	return nil
}

// line waits for the next line, which it does not pass. It is valid until more bytes are read.
func (w *reader) line() ([]byte, error) {
	for seen := 0; ; {
		rest := w.buf[w.pos:]
		if end := bytes.IndexByte(rest[seen:], '\n'); end >= 0 {
			return rest[:seen+end+1], nil
		}
		if seen = len(rest); seen >= maxLine {
			return nil, errProtocol
		}
		if err := w.more(1); err != nil {
			return nil, err
		}
	}
}

// arrive waits for the next n bytes. Memory grows with what has arrived, not with what was announced.
func (w *reader) arrive(n int) error {
	for n > len(w.buf)-w.pos {
		if err := w.more(n - (len(w.buf) - w.pos)); err != nil {
			return err
		}
	}
	return nil
}

// more reads from the connection what has arrived there. At least n further bytes are to come.
func (w *reader) more(n int) error {
	w.close()
	if err := w.grow(n); err != nil {
		return err
	}
	have := len(w.buf)
	read, err := w.conn.Read(w.buf[have:min(cap(w.buf), have+progressStep)])
	w.buf = w.buf[:have+read]
	w.received += read
	if w.progress != nil && w.received-w.told >= progressStep {
		w.told = w.received
		w.progress()
	}
	if read > 0 {
		return nil // an error comes again with the next read
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return unexpected(err)
}

// close moves what is yet to be looked at behind what is kept.
func (w *reader) close() {
	if w.kept == w.pos {
		return
	}
	n := copy(w.buf[w.kept:], w.buf[w.pos:])
	w.buf, w.pos = w.buf[:w.kept+n], w.kept
}

// grow makes room for n further bytes, or for some of them where there are many, within limits.reply.
func (w *reader) grow(n int) error {
	have, n := len(w.buf), min(n, announced)
	if cap(w.buf)-have >= max(n, room) {
		return nil
	}
	size := max(cap(w.buf)+growth(cap(w.buf)), have+max(n, room))
	if w.limits.reply > 0 {
		size = min(size, w.limits.reply)
	}
	if max(size, cap(w.buf))-have < n {
		return errTooLarge
	}
	if size > cap(w.buf) {
		grown := make([]byte, have, size)
		copy(grown, w.buf)
		w.buf = grown
	}
	return nil
}

func appendHeader(b []byte, kind byte, n int) []byte {
	b = append(b, kind)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, "\r\n"...)
}

// length reads <kind><length>\r\n; -1 stands for null.
func length(line []byte) (int, error) {
	if len(line) < len("*0\r\n") || !bytes.HasSuffix(line, []byte("\r\n")) {
		return 0, errProtocol
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || n < -1 || n > maxLength {
		return 0, errProtocol
	}
	return n, nil
}

// growth is by how much a full buffer grows. Buffers are used again and common replies are of much
// the same size, so small steps cost little and keep the memory near what is needed; with rare
// large ones they would leave several times the reply as garbage.
func growth(full int) int {
	const least, common = 64 << 10, 1 << 20
	if full < common {
		return max(full/4, least)
	}
	return full
}
