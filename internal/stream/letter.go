package stream

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// DeadLetter is an entry of a dead-letter stream, taken apart into the entry that it is a copy
// of and what DeadLetter added. Its slices lie in the reply that it came with.
type DeadLetter struct {
	// ID is the letter's own, on the dead-letter stream: its time is when it was written, by
	// Redis's clock.
	ID ID
	// Fields are those of the original entry, in its order. They are all there is of an entry
	// that somebody else put on the dead-letter stream.
	Fields []Field
	Reason string
	Detail string
	// SourceID is the id that the entry had on its own stream.
	SourceID string
	// SQLState is empty unless the database refused the row.
	SQLState string
	// Time is when the entry was given up, by the worker's clock; zero where the letter lacks it.
	Time time.Time
}

// Field is a field of an entry.
type Field struct {
	Name, Value []byte
}

// Value returns the value of the named field of the original entry; of several the last, as the
// worker reads them. It is nil where there is none.
func (l *DeadLetter) Value(name string) []byte {
	for i := len(l.Fields) - 1; i >= 0; i-- {
		if string(l.Fields[i].Name) == name {
			return l.Fields[i].Value
		}
	}
	return nil
}

// DeadLetters reads up to count dead letters of a stream, the oldest first, with ids from first
// to last, both included (XRANGE), and returns the size of the reply too.
func DeadLetters(ctx context.Context, client redis.UniversalClient, stream string, first, last ID, count int) ([]DeadLetter, int, error) {
	entries, size, err := readRange(ctx, client, "xrange", DeadKey(stream), first.String(), last.String(), count)
	return letters(entries), size, err
}

// NewestDeadLetters reads up to count dead letters of a stream, the newest first (XREVRANGE).
func NewestDeadLetters(ctx context.Context, client redis.UniversalClient, stream string, count int) ([]DeadLetter, error) {
	entries, _, err := readRange(ctx, client, "xrevrange", DeadKey(stream), "+", "-", count)
	return letters(entries), err
}

func letters(entries []Entry) []DeadLetter {
	all := make([]DeadLetter, len(entries))
	for i := range entries {
		all[i] = deadLetter(&entries[i])
	}
	return all
}

// deadLetter looks for what Letter.values appends, from the end: the original entry may have
// fields of the same names.
func deadLetter(e *Entry) DeadLetter {
	l := DeadLetter{ID: e.ID, Fields: make([]Field, 0, e.count/2)}
	for name, value := range e.Fields {
		l.Fields = append(l.Fields, Field{name, value})
	}
	own := l.Fields
	state := ""
	if n := len(own) - 1; n >= 0 && string(own[n].Name) == FieldSQLState {
		state, own = string(own[n].Value), own[:n]
	}
	names := [...]string{FieldReason, FieldDetail, FieldSourceID, FieldTime}
	start := len(own) - len(names)
	if start < 0 {
		return l
	}
	var values [len(names)]string
	for i, name := range names {
		if string(own[start+i].Name) != name {
			return l
		}
		values[i] = string(own[start+i].Value)
	}
	l.Fields = own[:start]
	l.Reason, l.Detail, l.SourceID, l.SQLState = values[0], values[1], values[2], state
	if at, err := time.Parse(time.RFC3339Nano, values[3]); err == nil {
		l.Time = at
	}
	return l
}

// parseRange reads a whole reply of XRANGE or XREVRANGE.
func parseRange(reply []byte) ([]Entry, error) {
	if len(reply) > 0 && reply[0] == '-' {
		return nil, asReplyError(reply)
	}
	r := respReader{buf: reply}
	return r.entries(nil)
}
