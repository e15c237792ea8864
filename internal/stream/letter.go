package stream

import (
	"context"
	"fmt"
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

// A page of dead letters is at most so many, and so many bytes unless it is a single one.
const (
	pageLetters = 1000
	pageBytes   = 1 << 20
)

// page takes letters one by one, since XRANGE counts letters and not bytes. ARGV: XRANGE or XREVRANGE,
// start, end, maximum count and bytes, and "reasons" where only these are wanted.
const pageScript = `
local command, from, to, count, bytes = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local out, size = {}, 0
while #out < count do
	local found = redis.call(command, KEYS[1], from, to, 'COUNT', 1)
	if #found == 0 then break end
	local fields = found[1][2]
	for i = 1, #fields do size = size + #fields[i] end
	if #out > 0 and size > bytes then break end
	from = '(' .. found[1][1]
	if ARGV[6] == 'reasons' then
		local n = #fields
		if fields[n - 1] == '` + FieldSQLState + `' then n = n - 2 end
		local reason = fields[n - 7] == '` + FieldReason + `' and fields[n - 5] == '` + FieldDetail + `' and
			fields[n - 3] == '` + FieldSourceID + `' and fields[n - 1] == '` + FieldTime + `' and fields[n - 6]
		out[#out + 1] = reason or ''
	else
		out[#out + 1] = found[1]
	end
end
return out
`

var page = redis.NewScript(pageScript)

// DeadLetters reads a page of dead letters of a stream with ids from one to another, both included, and the newest first
// where from is behind to. An empty page means that there are no more.
func DeadLetters(ctx context.Context, client redis.UniversalClient, stream string, from, to ID) ([]DeadLetter, error) {
	entries, err := readPage(ctx, client, DeadKey(stream), from, to)
	if err != nil {
		return nil, fmt.Errorf("read dead letters of stream %s: %w", stream, err)
	}
	return letters(entries), nil
}

// maxReasonBytes bounds the size of the letters that NewestReasons looks at.
const maxReasonBytes = 16 << 20

// NewestReasons returns the reasons of up to count dead letters, the newest first, of fewer where they
// are large. What is no letter of the worker has the reason "".
func NewestReasons(ctx context.Context, client redis.UniversalClient, stream string, count int) ([]string, error) {
	reasons, err := page.Run(ctx, client, []string{DeadKey(stream)}, "XREVRANGE", "+", "-", count, maxReasonBytes, "reasons").StringSlice()
	if err != nil {
		return nil, fmt.Errorf("read dead letters of stream %s: %w", stream, err)
	}
	return reasons, nil
}

// NewestDeadLetters reads up to count dead letters of a stream, the newest first (XREVRANGE).
func NewestDeadLetters(ctx context.Context, client redis.UniversalClient, stream string, count int) ([]DeadLetter, error) {
	entries, err := readRange(ctx, client, "xrevrange", DeadKey(stream), "+", "-", count)
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
