package stream

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

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

// MaxDetail bounds the bytes of a letter's detail. A longer one is cut at a rune.
const MaxDetail = 1024

// Letter is an entry that cannot be a row, and why.
type Letter struct {
	Entry    *Entry
	Reason   string
	Detail   string
	SQLState string

	token string // of the first call to DeadLetter with this letter
}

// attempt is a Lua function that calls a command. An error that the caller may return names the command, which
// Redis's own does not where the ACL denies one within a script.
const attempt = `
local function attempt(command, ...)
	local reply = redis.pcall(command, ...)
	if type(reply) == 'table' and reply.err then
		return nil, {err = reply.err .. ' (' .. command .. ')'}
	end
	return reply
end
`

// bury copies one entry and acknowledges it, in one step for Redis. A script rather than MULTI:
// where XADD fails, as it does if the key holds no stream, MULTI would acknowledge all the same.
//
// KEYS: the stream, its dead letters, and a hash of source ids to "<letter id> <token>". ARGV: group,
// source id, token, count of the entry's own values, and all values of the letter. Where the hash may
// not be used the third key is left out: a lost answer may then leave a second copy, never none.
const bury = attempt + `
local stream, dead, sources = KEYS[1], KEYS[2], KEYS[3]
local group, source, token, own = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local function known()
	local value = sources and redis.pcall('HGET', sources, source)
	if type(value) ~= 'string' then return nil end
	local letter, by = string.match(value, '^(%S+) (%S+)$')
	if by == token then return 1 end
	local found = redis.pcall('XRANGE', dead, letter or '-', letter or '-')
	if found.err or #found == 0 then return nil end
	local fields = found[1][2]
	for i = 1, own do
		if fields[i] ~= ARGV[i + 4] then return nil end
	end
	return fields[own + 1] == '` + FieldReason + `' and 0 or nil
end
local written = known()
if not written then
	local letter, refused = attempt('XADD', dead, '*', unpack(ARGV, 5))
	if refused then return refused end
	written = 1
	if sources then
		redis.pcall('HSET', sources, source, letter .. ' ' .. token)
		local size, letters = redis.pcall('HLEN', sources), redis.pcall('XLEN', dead)
		if type(size) == 'number' and type(letters) == 'number' and size > 2 * letters + 1000 then
			redis.pcall('UNLINK', sources)
			redis.pcall('HSET', sources, source, letter .. ' ' .. token)
		end
	end
end
local _, refused = attempt('XACK', stream, group, source)
return refused or written
`

// DeadLetter copies the entries with all their fields to the dead-letter stream and takes them
// off the pending list; each entry either both or neither. In doubt, as where somebody removed the
// consumer or the entry was trimmed, a copy is written. An entry whose copy is on the dead-letter stream
// is only acknowledged: its source id and fields tell.
//
// It reports for each letter whether it was written by this call, or by an earlier one with the same
// slice whose answer was lost; false of an entry that was dead-lettered before.
func (c *Consumer) DeadLetter(ctx context.Context, letters []Letter) ([]bool, error) {
	written := make([]bool, 0, len(letters))
	now := time.Now().UTC().Format(time.RFC3339Nano)
	// In parts: one pipeline of large payloads would be held in memory as a whole.
	for part := range slices.Chunk(letters, 100) {
		keys := []string{c.stream, DeadKey(c.stream), SourcesKey(c.stream)}
		results, err := c.bury(ctx, keys, part, now)
		if redis.IsPermissionError(err) {
			results, err = c.buryUnnoted(ctx, keys[:2], part, now)
		}
		if err != nil {
			return nil, fmt.Errorf("dead-letter %d entries of stream %s: %w", len(letters), c.stream, err)
		}
		for _, result := range results {
			written = append(written, result.(*redis.Cmd).Val() == int64(1))
		}
	}
	return written, nil
}

// buryUnnoted does without the hash. It first acknowledges an id that no entry has: where XACK is what may not be
// used, each attempt would leave another copy.
func (c *Consumer) buryUnnoted(ctx context.Context, keys []string, letters []Letter, now string) ([]redis.Cmder, error) {
	if err := c.client.XAck(ctx, c.stream, c.group, "0-0").Err(); err != nil {
		return nil, err
	}
	return c.bury(ctx, keys, letters, now)
}

func (c *Consumer) bury(ctx context.Context, keys []string, letters []Letter, now string) ([]redis.Cmder, error) {
	return c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range letters {
			l := &letters[i]
			if l.token == "" {
				l.token = rand.Text()
			}
			own, values := l.values(now)
			args := append([]any{c.group, l.Entry.ID.String(), l.token, own}, values...)
			pipe.Eval(ctx, bury, keys, args...)
		}
		return nil
	})
}

// mostFields bounds what a letter keeps of its entry: Lua hands no more than some 8,000 values to
// a command, and an entry that cannot be buried would be in the way for ever.
const mostFields = 3900

// values returns the letter's fields with their values, and how many of them are the entry's own.
func (l *Letter) values(now string) (own int, values []any) {
	fields := l.Entry.count / 2
	values = make([]any, 0, 2*min(fields, mostFields)+10)
	keep := l.Entry.kept(mostFields)
	i := 0
	for field, value := range l.Entry.Fields {
		if keep(i) {
			values = append(values, field, value)
		}
		i++
	}
	own = len(values)
	detail := cut(l.Detail, MaxDetail)
	if fields > mostFields {
		detail += fmt.Sprintf(" (%d of its %d fields are kept)", own/2, fields)
	}
	values = append(values,
		FieldReason, l.Reason,
		FieldDetail, detail,
		FieldSourceID, l.Entry.ID.String(),
		FieldTime, now)
	if l.SQLState != "" {
		values = append(values, FieldSQLState, l.SQLState)
	}
	return own, values
}

// cut shortens text to at most so many bytes, at the beginning of a rune.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const ellipsis = "…"
	end := most - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
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
