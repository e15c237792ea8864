package deadletter

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// replay adds the original entry to its stream and then deletes the letter. A script rather than
// MULTI: where XADD fails, as on a key of another type, the script ends there, but MULTI would go
// on and delete. It also keeps two replays at once from adding an entry twice.
var replay = redis.NewScript(`
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then
	return ''
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
redis.call('XDEL', KEYS[2], ARGV[1])
return id
`)

// Replay puts the letters' original fields back on the stream, as new entries at its end, and
// deletes the letters: each in one step of Redis, so that at any moment an entry is in one of
// the two. The worker reads it as it does any other; if it fails again, it becomes a letter
// again. It returns the ids of the new entries: a letter that is gone by now has none, and one that is cut
// stays where it is. After an error these are the entries that are known to be back.
func (q *Queue) Replay(ctx context.Context, letters []Letter) ([]stream.ID, error) {
	keys := []string{q.stream, stream.DeadKey(q.stream)}
	pipe := q.client.Pipeline()
	for i := range letters {
		l := &letters[i]
		if l.Cut() {
			continue
		}
		args := make([]any, 0, 1+2*len(l.Fields))
		args = append(args, l.ID.String())
		for _, f := range l.Fields {
			args = append(args, f.Name, f.Value)
		}
		replay.Eval(ctx, pipe, keys, args...)
	}
	var added []stream.ID
	cmds, err := pipe.Exec(ctx)
	for _, cmd := range cmds {
		if reply, ok := cmd.(*redis.Cmd); ok {
			text, _ := reply.Text()
			if id, err := stream.ParseID(text); err == nil {
				added = append(added, id)
			}
		}
	}
	if err != nil {
		return added, fmt.Errorf("replay onto stream %s: %w", q.stream, err)
	}
	return added, nil
}

// Drop deletes the letters for good and returns how many were still there.
func (q *Queue) Drop(ctx context.Context, letters []Letter) (int, error) {
	ids := make([]string, len(letters))
	for i := range letters {
		ids[i] = letters[i].ID.String()
	}
	n, err := q.client.XDel(ctx, stream.DeadKey(q.stream), ids...).Result()
	if err != nil {
		return 0, fmt.Errorf("drop dead letters of stream %s: %w", q.stream, err)
	}
	return int(n), nil
}
