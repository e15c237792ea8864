package stream

import (
	"bytes"
	"slices"
)

// fields reads the n elements of an entry's field list, whose header stands at header.
func (w *reader) fields(header, n int) error {
	if size := w.arrived(n); size > 0 {
		return w.keep(size)
	}
	start := w.pos
	for i := range n {
		head, size, err := w.bulkHeader()
		if err != nil {
			return err
		}
		if w.limits.entry > 0 && w.pos-start+head+size > w.limits.entry {
			return w.oversize(header, start, i, n)
		}
		if err := w.keep(head); err != nil {
			return err
		}
		if err := w.bytes(size); err != nil {
			return err
		}
	}
	return nil
}

// arrived returns the size of the next n bulk strings where all of them have arrived and are within
// limits.entry, as those of most entries are; else 0.
func (w *reader) arrived(n int) int {
	arrived := w.buf[w.pos:]
	if w.limits.entry > 0 && len(arrived) > w.limits.entry {
		arrived = arrived[:w.limits.entry]
	}
	pos := 0
	for range n {
		if pos >= len(arrived) || arrived[pos] != '$' {
			return 0
		}
		size := 0
		for pos++; pos < len(arrived) && '0' <= arrived[pos] && arrived[pos] <= '9' && size <= len(arrived); pos++ {
			size = size*10 + int(arrived[pos]-'0')
		}
		if pos+1 >= len(arrived) || arrived[pos] != '\r' || arrived[pos+1] != '\n' || arrived[pos-1] == '$' {
			return 0
		}
		pos += size + 2*len("\r\n")
	}
	if pos > len(arrived) {
		return 0
	}
	return pos
}

// bulkHeader waits for the header of a bulk string that is not null, and returns its size and that of the string
// with the line break behind it.
func (w *reader) bulkHeader() (head, size int, err error) {
	line, err := w.line()
	if err != nil {
		return 0, 0, err
	}
	if line[0] != '$' {
		return 0, 0, errProtocol
	}
	n, err := length(line)
	if err != nil || n < 0 {
		return 0, 0, errProtocol
	}
	return len(line), n + len("\r\n"), nil
}

// oversize puts an excerpt of an entry in the place of its field list, whose header stands at header and whose elements
// before i begin at start. The element i is next. The rest of the entry is read and not kept.
func (w *reader) oversize(header, start, i, n int) error {
	w.cut.reset()
	read := respReader{buf: w.buf[:w.pos], pos: start}
	for range i {
		text, err := read.bulk()
		if err != nil {
			return err
		}
		w.cut.add(text)
	}
	total := w.pos - start
	w.kept = header
	for ; i < n; i++ {
		head, size, err := w.bulkHeader()
		if err != nil {
			return err
		}
		w.pos += head
		if err := w.excerpt(size); err != nil {
			return err
		}
		total += head + size
	}
	kept := w.cut.finish()
	w.skipped += max(total-len(kept), 0)
	return w.insert(appendHeader(appendHeader(nil, '~', total), '*', w.cut.elements), kept)
}

// excerpt adds the beginning of the next bulk string, whose size includes the line break, to the excerpt
// and skips its rest.
func (w *reader) excerpt(size int) error {
	n := min(size-len("\r\n"), excerptValue)
	if err := w.arrive(n); err != nil {
		return err
	}
	w.cut.add(w.buf[w.pos : w.pos+n])
	return w.skip(size)
}

// insert puts the texts behind what is kept, as a part of the reply.
func (w *reader) insert(texts ...[]byte) error {
	text := bytes.Join(texts, nil)
	if w.beyond(len(text)) {
		return errTooLarge
	}
	w.close()
	if err := w.grow(len(text)); err != nil {
		return err
	}
	w.buf = slices.Insert(w.buf, w.pos, text...)
	return w.keep(len(text))
}
