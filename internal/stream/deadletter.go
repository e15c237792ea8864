package stream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Fields that a dead letter has beyond those of the entry that it is a copy of.
const (
	FieldReason   = "dlq_reason"    // one word of a closed set
	FieldDetail   = "dlq_detail"    // for people
	FieldSourceID = "dlq_source_id" // the entry's id on its own stream
	FieldTime     = "dlq_time"      // RFC 3339, when it was given up
	FieldSQLState = "dlq_sqlstate"  // where the database refused the row
)

// Letter is an entry that cannot be a row, and why.
type Letter struct {
	Entry    *Entry
	Reason   string
	Detail   string
	SQLState string
}

// bury copies one entry and acknowledges it, in one step for Redis. A script rather than MULTI:
// where XADD fails, as it does if the key holds no stream, MULTI would acknowledge all the same.
// An entry that is on the stream and no longer pending was buried before, and the answer lost.
const bury = `
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if not pending.err and #pending == 0 and #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then
	return 0
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
`

// DeadLetter copies the entries with all their fields to the dead-letter stream and takes them
// off the pending list; each entry either both or neither. It reports for each letter whether it was
// written by this call, or by an earlier one with the same letters whose answer was lost; false of an
// entry that was dead-lettered before. A repetition leaves no second copy.
func (c *Consumer) DeadLetter(ctx context.Context, letters []Letter) ([]bool, error) {
	written := make([]bool, len(letters))
	now := time.Now().UTC().Format(time.RFC3339Nano)
	done := 0
	// In parts: one pipeline of large payloads would be held in memory as a whole.
	for part := range slices.Chunk(letters, 100) {
		results, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, l := range part {
				args := append([]any{c.group, l.Entry.ID.String()}, l.values(now)...)
				pipe.Eval(ctx, bury, []string{c.stream, DeadKey(c.stream)}, args...)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("dead-letter %d entries of stream %s: %w", len(letters), c.stream, err)
		}
		for i := range part {
			written[done+i] = results[i].(*redis.Cmd).Val() == int64(1)
		}
		done += len(part)
	}
	return written, nil
}

// mostFields bounds what a letter keeps of its entry: Lua hands no more than some 8,000 values to
// a command, and an entry that cannot be buried would be in the way for ever.
const mostFields = 3900

func (l *Letter) values(now string) []any {
	fields := l.Entry.count / 2
	values := make([]any, 0, 2*min(fields, mostFields)+10)
	keep := l.Entry.kept(mostFields)
	i := 0
	for field, value := range l.Entry.Fields {
		if keep(i) {
			values = append(values, field, value)
		}
		i++
	}
	detail := l.Detail
	if fields > mostFields {
		detail += fmt.Sprintf(" (%d of its %d fields are kept)", len(values)/2, fields)
	}
	values = append(values,
		FieldReason, l.Reason,
		FieldDetail, detail,
		FieldSourceID, l.Entry.ID.String(),
		FieldTime, now)
	if l.SQLState != "" {
		values = append(values, FieldSQLState, l.SQLState)
	}
	return values
}

// kept chooses at most so many fields of the entry by their index: the first ones, and wherever
// they stand those of the contract, without which a replay could make no row. Of several with one
// name the last counts, as the worker reads them.
func (e *Entry) kept(most int) func(i int) bool {
	if e.count/2 <= most {
		return func(int) bool { return true }
	}
	last := map[string]int{"payload": -1, "device_id": -1, "ts": -1}
	i := 0
	for field := range e.Fields {
		if _, named := last[string(field)]; named {
			last[string(field)] = i
		}
		i++
	}
	first := most - len(last)
	return func(i int) bool {
		return i < first || i == last["payload"] || i == last["device_id"] || i == last["ts"]
	}
}
