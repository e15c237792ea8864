package stream

// fields appends the n elements of an entry's field list, whose header stands in buf at header.
func (w *reader) fields(buf []byte, header, n int) ([]byte, error) {
	start := len(buf)
	if size := w.whole(n); size > 0 {
		var err error
		if buf, err = w.grow(buf, size); err != nil {
			return buf, err
		}
		text, err := w.r.Peek(size)
		buf = append(buf, text...)
		_, _ = w.r.Discard(len(text))
		w.count(len(text))
		return buf, err
	}
	for i := range n {
		line, size, err := w.bulkHeader()
		if err != nil {
			return buf, err
		}
		if w.limits.entry > 0 && len(buf)-start+len(line)+size > w.limits.entry {
			return w.oversize(buf, header, start, i, n, len(line), size)
		}
		if buf, err = w.grow(buf, len(line)+size); err != nil {
			return buf, err
		}
		buf = append(buf, line...)
		if buf, err = w.bytes(buf, size); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// whole returns the size of the next n bulk strings where all of them have arrived and are within
// limits.entry, as those of most entries are; else 0.
func (w *reader) whole(n int) int {
	arrived, _ := w.r.Peek(w.r.Buffered())
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

// bulkHeader reads the header of a bulk string that is not null. The size includes the line break behind
// the string.
func (w *reader) bulkHeader() (line []byte, size int, err error) {
	if line, err = w.line(); err != nil {
		return line, 0, err
	}
	if line[0] != '$' {
		return line, 0, errProtocol
	}
	n, err := length(line)
	if err != nil || n < 0 {
		return line, 0, errProtocol
	}
	return line, n + len("\r\n"), nil
}

// oversize puts an excerpt of an entry in the place of its field list, of which the elements before i stand
// in buf from start on. The element i is next on the wire: a header of so many bytes has been read, size is
// what follows. The rest of the entry is read and not kept.
func (w *reader) oversize(buf []byte, header, start, i, n, headerSize, size int) ([]byte, error) {
	w.cut.reset()
	read := respReader{buf: buf, pos: start}
	for range i {
		text, err := read.bulk()
		if err != nil {
			return buf, err
		}
		w.cut.add(text)
	}
	total := len(buf) - start
	for {
		total += headerSize + size
		if err := w.excerpt(size); err != nil {
			return buf, err
		}
		if i++; i == n {
			break
		}
		line, next, err := w.bulkHeader()
		if err != nil {
			return buf, err
		}
		headerSize, size = len(line), next
	}
	kept := w.cut.finish()
	w.skipped += max(total-len(kept), 0)
	buf, err := w.grow(buf[:header], len(kept)+64)
	if err != nil {
		return buf, err
	}
	buf = appendHeader(buf, '~', total)
	buf = appendHeader(buf, '*', w.cut.elements)
	return append(buf, kept...), nil
}

// excerpt adds the beginning of the next bulk string, whose size includes the line break, to the excerpt
// and skips its rest.
func (w *reader) excerpt(size int) error {
	text, err := w.r.Peek(min(size-len("\r\n"), excerptValue))
	if err != nil {
		return unexpected(err)
	}
	w.cut.add(text)
	for size > 0 {
		n, err := w.r.Discard(min(size, progressStep))
		w.count(n)
		if err != nil {
			return unexpected(err)
		}
		size -= n
	}
	return nil
}
