package stream

import (
	"bytes"
	"errors"
	"strconv"
)

// countedRead reads new entries so that those can be found which were trimmed before the group had
// them.
//
// Where entries are missing between what the group had last and what it gets now, later versions of
// Redis count them as read at that moment (entries-read of XINFO GROUPS; redis/redis#13958), and
// valkey does. A worker that lags behind reads every few milliseconds, so whoever looks from time to
// time would see none of it. Hence the count of before and of after, in one transaction with the
// read: what it grew by beyond the entries that came was never delivered to anybody.
func (c *Consumer) countedRead(count int) [][]string {
	groups := []string{"XINFO", "GROUPS", c.stream}
	return [][]string{{"MULTI"}, groups, c.readCommand(count, 0, ">"), groups, {"EXEC"}}
}

// parseCounted reads the reply to EXEC of countedRead. The entries are appended to those given and
// point into reply.
func (c *Consumer) parseCounted(entries []Entry, reply []byte) (d delivered, err error) {
	r := respReader{buf: reply}
	if err := r.errorReply(); err != nil {
		return d, err
	}
	if n, err := r.array(); err != nil || n != 3 {
		return d, errors.Join(errProtocol, err)
	}
	before, err := r.entriesRead(c.group)
	if err != nil {
		return d, err
	}
	start := r.pos
	if d.entries, err = r.read(entries); err != nil {
		return d, err
	}
	d.bytes = r.pos - start
	after, err := r.entriesRead(c.group)
	if before >= 0 && after >= 0 {
		d.trimmedUnread = max(after-before-int64(len(d.entries)-len(entries)), 0)
	}
	return d, err
}

// entriesRead reads a reply of XINFO GROUPS: what it says of the group's entries-read. -1 where that
// is null, or the group or the stream is not there.
func (r *respReader) entriesRead(group string) (int64, error) {
	if r.errorReply() != nil { // no such key: XREADGROUP says so, too
		return -1, nil
	}
	groups, err := r.array()
	if err != nil {
		return 0, err
	}
	found := int64(-1)
	for range groups {
		name, read, err := r.group()
		if err != nil {
			return 0, err
		}
		if string(name) == group {
			found = read
		}
	}
	return found, nil
}

// group reads the fields of one group.
func (r *respReader) group() (name []byte, entriesRead int64, err error) {
	fields, err := r.array()
	if err != nil {
		return nil, 0, err
	}
	entriesRead = -1
	for range fields / 2 {
		field, err := r.scalar()
		if err != nil {
			return nil, 0, err
		}
		value, err := r.scalar()
		if err != nil {
			return nil, 0, err
		}
		switch string(field) {
		case "name":
			name = value
		case "entries-read":
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				entriesRead = n
			}
		}
	}
	return name, entriesRead, nil
}

// scalar reads a string, a number or null, for which it returns nil.
func (r *respReader) scalar() ([]byte, error) {
	rest := r.buf[r.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte("$-1\r\n")):
		r.pos += len("$-1\r\n")
		return nil, nil
	case len(rest) > 0 && rest[0] == '$':
		return r.bulk()
	case len(rest) > 0 && (rest[0] == ':' || rest[0] == '+'):
		line, _, found := bytes.Cut(rest[1:], []byte("\r\n"))
		if !found {
			return nil, errProtocol
		}
		r.pos += len(":") + len(line) + len("\r\n")
		return line, nil
	default:
		return nil, errProtocol
	}
}
