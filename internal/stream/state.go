package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// state is what Redis tells of a stream and a group at one moment. A server that is not Redis leaves
// some of it out: pointers are then nil, ids and texts empty.
type state struct {
	exists bool
	length int64
	added  *int64 // entries ever added
	// first is zero where the stream is empty.
	first, lastGenerated, maxDeleted ID

	hasGroup      bool
	lastDelivered ID
	read, lag     *int64 // entries-read and lag of the group, as Redis counts them
	pending       int64
	oldestPending ID

	// run names the life of this server's data: another one after a restart and after a failover.
	run string
	// counted is what Settle left under CountedKey.
	counted string
}

// look asks for the state without moving payloads, of which XINFO STREAM carries two: they stay within
// Redis. KEYS: the stream, and the key of Settle where it may be read. It changes nothing.
var look = redis.NewScript(attempt + `
local out = {}
local function put(name, value)
	if type(value) == 'number' then value = string.format('%.0f', value) end
	if type(value) == 'string' then
		out[#out + 1] = name
		out[#out + 1] = value
	end
end
local function fields(list)
	local named = {}
	for i = 1, #list, 2 do named[list[i]] = list[i + 1] end
	return named
end
local stream, group = KEYS[1], ARGV[1]
local about, refused = attempt('XINFO', 'STREAM', stream)
if refused then return refused end
about = fields(about)
put('length', about['length'])
put('added', about['entries-added'])
put('last-generated', about['last-generated-id'])
put('max-deleted', about['max-deleted-entry-id'])
local first = about['first-entry']
if type(first) == 'table' then put('first', first[1]) end
local groups
groups, refused = attempt('XINFO', 'GROUPS', stream)
if refused then return refused end
for _, list in ipairs(groups) do
	local found = fields(list)
	if found['name'] == group then
		put('last-delivered', found['last-delivered-id'])
		put('read', found['entries-read'])
		put('lag', found['lag'])
		local pending
		pending, refused = attempt('XPENDING', stream, group)
		if refused then return refused end
		put('pending', pending[1])
		put('oldest', pending[2])
	end
end
local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
if type(server) == 'string' and type(replication) == 'string' then
	local run, id = string.match(server, 'run_id:(%w+)'), string.match(replication, 'master_replid:(%w+)')
	if run and id then put('run', run .. '.' .. id) end
end
if KEYS[2] then
	put('counted', redis.pcall('GET', KEYS[2]))
end
return out
`)

// lookAt returns the zero state where there is no such stream.
func lookAt(ctx context.Context, client redis.UniversalClient, stream, group string) (state, error) {
	values, err := withCounted(stream, func(keys []string) *redis.Cmd {
		return look.Run(ctx, client, keys, group)
	}).StringSlice()
	if missing(err) {
		return state{}, nil
	}
	var s state
	if err == nil {
		s, err = parseState(values)
	}
	if err != nil {
		return state{}, fmt.Errorf("ask for the state of stream %s: %w", stream, err)
	}
	return s, nil
}

// withCounted runs a script with the key of Settle, and without it where the ACL denies the key.
func withCounted(stream string, run func(keys []string) *redis.Cmd) *redis.Cmd {
	keys := []string{stream, CountedKey(stream)}
	cmd := run(keys)
	if redis.IsPermissionError(cmd.Err()) {
		return run(keys[:1])
	}
	return cmd
}

// parseState reads names and values in turn. Names that are not there leave their field as it is.
func parseState(values []string) (state, error) {
	s := state{exists: true}
	numbers := map[string]func(int64){
		"length":  func(n int64) { s.length = n },
		"added":   func(n int64) { s.added = &n },
		"read":    func(n int64) { s.read = &n },
		"lag":     func(n int64) { s.lag = &n },
		"pending": func(n int64) { s.pending = n },
	}
	ids := map[string]*ID{
		"first": &s.first, "last-generated": &s.lastGenerated, "max-deleted": &s.maxDeleted,
		"last-delivered": &s.lastDelivered, "oldest": &s.oldestPending,
	}
	for i := 0; i+1 < len(values); i += 2 {
		name, value := values[i], values[i+1]
		if set, ok := numbers[name]; ok {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return state{}, fmt.Errorf("%s: %w", name, err)
			}
			set(n)
		}
		if id, ok := ids[name]; ok && value != "" {
			if !strings.Contains(value, "-") {
				value += "-0" // miniredis keeps the 0 of XGROUP CREATE as it is
			}
			var err error
			if *id, err = ParseID(value); err != nil {
				return state{}, fmt.Errorf("%s: %w", name, err)
			}
		}
		switch name {
		case "last-delivered":
			s.hasGroup = true
		case "run":
			s.run = value
		case "counted":
			s.counted = value
		}
	}
	return s, nil
}

// undelivered returns how many entries of the stream the group has yet to be given, where one can tell:
// all of them, or none. Between the two only Redis's own count can.
func (s *state) undelivered() (entries int64, known bool) {
	switch {
	case !s.exists || !s.hasGroup:
		return 0, false
	case s.length == 0:
		return 0, true
	case s.lastGenerated != (ID{}) && s.lastGenerated.Compare(s.lastDelivered) <= 0:
		return 0, true
	case s.first != (ID{}) && s.first.Compare(s.lastDelivered) > 0:
		return s.length, true
	}
	return 0, false
}

// trimmed returns how many of the entries ever added are no longer there; 0 where Redis does not tell.
func (s *state) trimmed() int64 {
	if s.added == nil {
		return 0
	}
	return max(*s.added-s.length, 0)
}

// lost is what the group's entries-read implies.
type lost struct {
	// entries went from the stream before the group had them: this is certain.
	entries int64
	// doubtful entries may have: so many are missing from a count that may be wrong.
	doubtful int64
	// read is what entries-read should be; nil where one cannot tell.
	read *int64
}

// lost compares the entries that the group was given with those that were added. exact says that
// entries-read is right. It may not be: Redis 7 neither replicates it nor writes it to the append-only
// file with each read, and XGROUP SETID sets it to anything. No more is lost than was trimmed.
func (s *state) lost(exact bool) (l lost) {
	left, known := s.undelivered()
	if !known || s.added == nil {
		return l
	}
	should := *s.added - left
	l.read = &should
	if s.read == nil || (s.lastDelivered == (ID{}) && !exact) {
		return l // Redis has no count, or nothing was read since the group was set to the beginning
	}
	missing := min(max(should-*s.read, 0), s.trimmed())
	if exact {
		l.entries = missing
	} else {
		l.doubtful = missing
	}
	return l
}

// mark is the text under CountedKey: in this life of the server entries-read was right at that entry.
func mark(run string, last ID, read int64) string {
	return fmt.Sprintf("%s %s %d", run, last, read)
}

// confirms reports whether entries-read must be right since an earlier look found it so.
func (s *state) confirms() bool {
	words := strings.Fields(s.counted)
	if len(words) != 3 || s.run == "" || words[0] != s.run || s.read == nil {
		return false
	}
	last, ok := parseID(words[1])
	read, err := strconv.ParseInt(words[2], 10, 64)
	return ok && err == nil && goesOn(last, s.lastDelivered, read, *s.read)
}

// goesOn reports whether the group's position and its count can have moved from one to the other by
// reads alone: neither goes back, and not one without the other.
func goesOn(from, to ID, read, now int64) bool {
	moved := to.Compare(from)
	return moved >= 0 && now >= read && (moved == 0 || now > read)
}
