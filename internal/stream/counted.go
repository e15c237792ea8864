package stream

import (
	"bytes"
	"context"
	"errors"
	"strconv"
)

// readCounted reads new entries and finds those that were trimmed before the group had them.
//
// Where entries are missing between what the group had last and what it gets now, later versions of
// Redis count them as read at that moment (entries-read of XINFO GROUPS; redis/redis#13958), and
// valkey does. A worker that lags behind reads every few milliseconds, so whoever looks from time to
// time would see none of it. Hence the count of before and of after, in one transaction with the
// read: what it grew by beyond the entries that came was never delivered to anybody.
func (c *Consumer) readCounted(ctx context.Context, batch *Batch, count int) (int, error) {
	groups := []string{"XINFO", "GROUPS", c.stream}
	buf := c.buffers.get()
	reply, err := c.send(ctx, count, replyTimeout, buf.bytes[:0],
		[]string{"MULTI"}, groups, c.readCommand(count), groups, []string{"EXEC"})
	buf.bytes = reply
	if err != nil {
		return 0, err
	}
	read, err := parseCounted(batch.Entries, reply, c.group)
	if err != nil {
		return 0, err
	}
	n := len(read.entries) - len(batch.Entries)
	batch.Entries = read.entries
	batch.Bytes += read.bytes
	batch.TrimmedUnread += read.missed(n)
	batch.keep(buf, n)
	return n, nil
}

// countedRead is a read with the group's entries-read before and after it; -1 where Redis cannot tell.
type countedRead struct {
	before, after int64
	entries       []Entry
	bytes         int // of the read alone
}

// missed counts the entries that Redis counted as read and never delivered, where n came.
func (c countedRead) missed(n int) int64 {
	if c.before < 0 || c.after < 0 {
		return 0
	}
	return max(c.after-c.before-int64(n), 0)
}

// parseCounted reads the reply to EXEC of XINFO GROUPS, XREADGROUP, XINFO GROUPS. The entries are
// appended to those given and point into reply.
func parseCounted(entries []Entry, reply []byte, group string) (c countedRead, err error) {
	r := respReader{buf: reply}
	if err := r.errorReply(); err != nil {
		return c, err
	}
	if n, err := r.array(); err != nil || n != 3 {
		return c, errors.Join(errProtocol, err)
	}
	if c.before, err = r.entriesRead(group); err != nil {
		return c, err
	}
	start := r.pos
	if c.entries, err = r.read(entries); err != nil {
		return c, err
	}
	c.bytes = r.pos - start
	c.after, err = r.entriesRead(group)
	return c, err
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
		fields, err := r.array()
		if err != nil {
			return 0, err
		}
		read, ours := int64(-1), false
		for range fields / 2 {
			name, err := r.scalar()
			if err != nil {
				return 0, err
			}
			value, err := r.scalar()
			if err != nil {
				return 0, err
			}
			switch string(name) {
			case "name":
				ours = string(value) == group
			case "entries-read":
				if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
					read = n
				}
			}
		}
		if ours {
			found = read
		}
	}
	return found, nil
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
