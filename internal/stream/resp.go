package stream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

var errProtocol = errors.New("reply is not RESP2 as XREADGROUP sends it")

// replyError is an error reply: the client's raw path hands those over like any other reply.
type replyError string

// Error implements error.
func (e replyError) Error() string { return string(e) }

// RedisError marks the type for redis.Error, and so for redis.HasErrorPrefix.
func (replyError) RedisError() {}

// parseRead reads a whole reply of XREADGROUP on one stream, in RESP2:
//
//	*-1                                   nothing came in time
//	*1 *2 $stream *n (*2 $id *m ($field $value)…)…
//
// where *-1 in place of *m stands for a pending entry that is no longer on the stream. The
// entries are appended to those given and point into reply.
func parseRead(entries []Entry, reply []byte) ([]Entry, error) {
	r := respReader{buf: reply}
	return r.read(entries)
}

// read reads what XREADGROUP replies.
func (r *respReader) read(entries []Entry) ([]Entry, error) {
	if err := r.errorReply(); err != nil {
		return entries, err
	}
	streams, err := r.array()
	if err != nil || streams <= 0 {
		return entries, err
	}
	if n, err := r.array(); err != nil || n != 2 {
		return entries, errors.Join(errProtocol, err)
	}
	if _, err := r.bulk(); err != nil {
		return entries, err
	}
	return r.entries(entries)
}

func asReplyError(reply []byte) error {
	return replyError(bytes.TrimRight(reply[1:], "\r\n"))
}

// errorReply reads the line of an error, and returns nil where something else stands.
func (r *respReader) errorReply() error {
	rest := r.buf[r.pos:]
	if len(rest) == 0 || rest[0] != '-' {
		return nil
	}
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	r.pos += len(line) + len("\r\n")
	return asReplyError(line)
}

// respReader walks over a reply that is in memory as a whole.
type respReader struct {
	buf []byte
	pos int
}

func (r *respReader) entries(entries []Entry) ([]Entry, error) {
	n, err := r.array()
	if err != nil {
		return entries, err
	}
	if n > (len(r.buf)-r.pos)/len("*2\r\n") {
		return entries, errProtocol // memory for no more entries than there can be
	}
	before := len(entries)
	entries = slices.Grow(entries, max(n, 0))[:before+max(n, 0)]
	for i := range entries[before:] {
		entries[before+i] = Entry{}
		if err := r.entry(&entries[before+i]); err != nil {
			return entries[:before], fmt.Errorf("entry %d of %d: %w", i+1, n, err)
		}
	}
	return entries, nil
}

func (r *respReader) entry(e *Entry) error {
	n, err := r.array()
	if err != nil || n != 2 {
		return errors.Join(errProtocol, err)
	}
	if e.ID, err = r.id(); err != nil {
		return err
	}
	if e.Oversize, err = r.oversize(); err != nil {
		return err
	}
	if e.count, err = r.array(); err != nil {
		return err
	}
	if e.count < 0 {
		e.Trimmed = true
		return nil
	}
	start := r.pos
	for range e.count / 2 {
		field, err := r.bulk()
		if err != nil {
			return err
		}
		value, err := r.bulk()
		if err != nil {
			return err
		}
		if string(field) == "payload" {
			e.Payload = value
		}
	}
	e.fields = r.buf[start:r.pos]
	return nil
}

// oversize reads the size that a reader puts in front of the fields of a large entry; 0 where there is none.
func (r *respReader) oversize() (int, error) {
	if r.pos >= len(r.buf) || r.buf[r.pos] != '~' {
		return 0, nil
	}
	line, _, found := bytes.Cut(r.buf[r.pos+1:], []byte("\r\n"))
	size, err := strconv.Atoi(string(line))
	if !found || err != nil || size <= 0 {
		return 0, errProtocol
	}
	r.pos += len("~") + len(line) + len("\r\n")
	return size, nil
}

// array reads the header of an array and returns its length; -1 is the null array.
func (r *respReader) array() (int, error) { return r.header('*') }

// bulk reads a bulk string. It points into the reply, and its capacity ends with it.
func (r *respReader) bulk() ([]byte, error) {
	n, err := r.header('$')
	if err != nil {
		return nil, err
	}
	end := r.pos + n
	if n < 0 || end+2 > len(r.buf) {
		return nil, errProtocol
	}
	text := r.buf[r.pos:end:end]
	r.pos = end + 2
	return text, nil
}

// id reads a bulk string that holds an entry id.
func (r *respReader) id() (ID, error) {
	text, err := r.bulk()
	if err != nil {
		return ID{}, err
	}
	id, ok := parseID(string(text))
	if !ok {
		return ID{}, errProtocol
	}
	return id, nil
}

// header reads <kind><length>\r\n.
func (r *respReader) header(kind byte) (int, error) {
	buf, i, n := r.buf, r.pos+1, 0
	if r.pos >= len(buf) || buf[r.pos] != kind {
		return 0, errProtocol
	}
	for ; i < len(buf) && '0' <= buf[i] && buf[i] <= '9' && n <= len(buf); i++ {
		n = n*10 + int(buf[i]-'0')
	}
	if i == r.pos+1 {
		if !bytes.HasPrefix(buf[i:], []byte("-1\r\n")) {
			return 0, errProtocol
		}
		r.pos = i + len("-1\r\n")
		return -1, nil
	}
	if i+1 >= len(buf) || buf[i] != '\r' || buf[i+1] != '\n' {
		return 0, errProtocol
	}
	r.pos = i + len("\r\n")
	return n, nil
}
