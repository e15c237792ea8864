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
// valkey does. A worker that lags behind reads every few milliseconds, so a check from time to time
// would see none of it. Hence the count of before and of after, in one transaction with the
// read: what it grew by beyond the entries that came was never delivered to anybody.
func (c *Consumer) countedRead(count int) [][]string {
	c.countedAt = c.count.started()
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
	before, err := r.counts(c.group)
	if err != nil {
		return d, err
	}
	start := r.pos
	if d.entries, err = r.read(entries); err != nil {
		return d, err
	}
	d.bytes = r.pos - start
	after, err := r.counts(c.group)
	if err != nil {
		return d, err
	}
	c.consumers = after.consumers
	if c.grew(before, after) {
		d.trimmedUnread = max(*after.read-*before.read-int64(len(d.entries)-len(entries)), 0)
	}
	return d, nil
}

// grew reports whether the difference of the counts can be trusted: a count that a restart, a failover
// or XGROUP SETID left wrong may become right in between, and nothing is lost.
func (c *Consumer) grew(before, after counts) bool {
	if !c.count.see(c.countedAt, "", before.last, before.read) {
		return false
	}
	exact := c.count.see(c.count.started(), "", after.last, after.read)
	return exact && before.read != nil && after.read != nil
}

// counts is what XINFO GROUPS tells of a group. Read is nil where that is null, or the group or the
// stream is not there.
type counts struct {
	last      ID
	read      *int64
	consumers int
}

// counts reads a reply of XINFO GROUPS.
func (r *respReader) counts(group string) (found counts, err error) {
	if r.errorReply() != nil { // no such key: XREADGROUP says so, too
		return found, nil
	}
	groups, err := r.array()
	if err != nil {
		return found, err
	}
	for range groups {
		name, c, err := r.group()
		if err != nil {
			return found, err
		}
		if string(name) == group {
			found = c
		}
	}
	return found, nil
}

// group reads the fields of one group.
func (r *respReader) group() (name []byte, c counts, err error) {
	fields, err := r.array()
	if err != nil {
		return nil, c, err
	}
	for range fields / 2 {
		field, err := r.scalar()
		if err != nil {
			return nil, c, err
		}
		value, err := r.scalar()
		if err != nil {
			return nil, c, err
		}
		switch string(field) {
		case "name":
			name = value
		case "entries-read":
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				c.read = &n
			}
		case "consumers":
			c.consumers, _ = strconv.Atoi(string(value))
		case "last-delivered-id":
			c.last, _ = parseID(string(value))
		}
	}
	return name, c, nil
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
