package stream

import (
	"bufio"
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
	// progressStep is the number of bytes after which progress is reported.
	progressStep = 256 << 10
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

// reader reads replies in RESP2 into memory. Of an entry that is larger than limits.entry it keeps the
// beginning, and in front of that its size in bytes: ~<size>\r\n. No reply of Redis can hold such a line,
// since RESP2 has no kind ~.
type reader struct {
	r        *bufio.Reader
	limits   limits
	progress func()
	received int // bytes of the replies since begin
	skipped  int // of these, bytes that were not kept
	told     int // value of received at the last call of progress
	cut      excerpt
}

// begin sets what holds for the next replies.
func (w *reader) begin(l limits, progress func()) {
	w.limits, w.progress = l, progress
	w.received, w.skipped, w.told = 0, 0, 0
}

// count counts bytes that were read, and reports progress now and then.
func (w *reader) count(n int) {
	w.received += n
	if w.progress != nil && w.received-w.told >= progressStep {
		w.told = w.received
		w.progress()
	}
}

// line reads a line; it is valid until the next read.
func (w *reader) line() ([]byte, error) {
	line, err := w.r.ReadSlice('\n')
	w.count(len(line))
	if err != nil {
		return line, unexpected(err)
	}
	return line, nil
}

// reply appends one whole reply.
func (w *reader) reply(buf []byte) ([]byte, error) {
	var open [maxDepth]int // elements to come of each array that has begun
	depth := 0
	for {
		at := len(buf)
		line, err := w.line()
		if err != nil {
			return buf, err
		}
		if buf, err = w.grow(buf, len(line)); err != nil {
			return buf, err
		}
		buf = append(buf, line...)
		n := 0
		switch line[0] {
		case '+', '-', ':':
			if !bytes.HasSuffix(line, []byte("\r\n")) {
				return buf, errProtocol
			}
		case '$':
			if n, err = length(line); err != nil {
				return buf, err
			}
			if n >= 0 {
				buf, err = w.bytes(buf, n+len("\r\n"))
			}
		case '*':
			if n, err = length(line); err != nil {
				return buf, err
			}
			if n > 0 && depth > 0 && depth == w.limits.depth {
				buf, err = w.fields(buf, at, n)
			} else if n > 0 {
				if depth == maxDepth {
					return buf, errProtocol
				}
				open[depth] = n
				depth++
				continue
			}
		default:
			return buf, errProtocol
		}
		if err != nil {
			return buf, err
		}
		for ; depth > 0; depth-- {
			if open[depth-1]--; open[depth-1] > 0 {
				break
			}
		}
		if depth == 0 {
			return buf, nil
		}
	}
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

// bytes appends the next n bytes. Memory grows with what has arrived, not with what was announced.
func (w *reader) bytes(buf []byte, n int) ([]byte, error) {
	for n > 0 {
		var err error
		if buf, err = w.grow(buf, n); err != nil {
			return buf, err
		}
		start := len(buf)
		buf = buf[:min(start+n, cap(buf), start+progressStep)]
		read, err := io.ReadFull(w.r, buf[start:])
		w.count(read)
		if err != nil {
			return buf[:start+read], unexpected(err)
		}
		n -= read
	}
	return buf, nil
}

// grow makes room for the next n bytes of a reply, or for some of them where there are many.
func (w *reader) grow(buf []byte, n int) ([]byte, error) {
	if w.limits.reply > 0 && n > w.limits.reply-len(buf) {
		return buf, errTooLarge
	}
	if cap(buf)-len(buf) >= min(n, announced) {
		return buf, nil
	}
	size := max(cap(buf)+growth(cap(buf)), len(buf)+min(n, announced))
	if w.limits.reply > 0 {
		size = min(size, w.limits.reply)
	}
	grown := make([]byte, len(buf), size)
	copy(grown, buf)
	return grown, nil
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
