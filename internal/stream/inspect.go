package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Info is what Redis tells of a stream and of one of its consumer groups.
type Info struct {
	// Exists: without it everything else is zero.
	Exists bool
	// Length counts the entries on the stream.
	Length int64
	// Added counts those that ever were on it; nil where the server does not tell.
	Added *int64
	// First is the id of the oldest entry; zero where the stream is empty.
	First ID
	// LastGenerated is the id of the newest entry, on the stream or no longer.
	LastGenerated ID
	// MaxDeleted is the greatest id that XDEL removed; trimming leaves it alone.
	MaxDeleted ID
	// TrimmedUnread and Doubtful count entries that were trimmed before the group had them, for certain and
	// perhaps, as in Stats. A worker that finds such a loss counts it, and Redis shows it no longer.
	TrimmedUnread, Doubtful int64
	// Group is nil where the stream has no such group.
	Group *GroupInfo
}

// GroupInfo is a consumer group as Redis tells of it.
type GroupInfo struct {
	// LastDelivered is the id up to which entries were handed to consumers.
	LastDelivered ID
	// Read counts the entries delivered, each once; nil where Redis has lost count.
	Read *int64
	// Lag counts the entries yet to be delivered; nil where Redis cannot tell, as after XDEL in
	// the middle of them.
	Lag *int64
	// Pending counts the entries delivered and not acknowledged.
	Pending int64
	// OldestPending is the least id among them; zero where none is.
	OldestPending ID
	Consumers     []ConsumerInfo
}

// ConsumerInfo is a member of a group.
type ConsumerInfo struct {
	Name    string
	Pending int64
	// Idle is how long ago the consumer last asked for anything.
	Idle time.Duration
}

// Inspect asks Redis about a stream and a group (in a script XINFO STREAM and GROUPS and XPENDING, then
// XINFO CONSUMERS). A stream or group that is missing is no error.
func Inspect(ctx context.Context, client redis.UniversalClient, stream, group string) (Info, error) {
	found, err := lookAt(ctx, client, stream, group)
	if err != nil {
		return Info{}, err
	}
	info := Info{
		Exists: found.exists, Length: found.length, Added: found.added, First: found.first,
		LastGenerated: found.lastGenerated, MaxDeleted: found.maxDeleted,
	}
	if !found.hasGroup {
		return info, nil
	}
	loss := found.lost(found.confirms())
	info.TrimmedUnread, info.Doubtful = loss.entries, loss.doubtful
	info.Group = &GroupInfo{
		LastDelivered: found.lastDelivered, Read: found.read, Lag: found.trueLag(),
		Pending: found.pending, OldestPending: found.oldestPending,
	}
	if found.read == nil && found.lastDelivered == (ID{}) {
		info.Group.Read = new(int64) // Redis counts from the first read on
	}
	consumers, err := client.XInfoConsumers(ctx, stream, group).Result()
	if err != nil && !missing(err) {
		return Info{}, fmt.Errorf("ask for the consumers of stream %s: %w", stream, err)
	}
	for _, c := range consumers {
		info.Group.Consumers = append(info.Group.Consumers, ConsumerInfo{Name: c.Name, Pending: c.Pending, Idle: c.Idle})
	}
	return info, nil
}

// after returns the id of the first entry behind an id. A script, so that the payload stays within Redis.
var after = redis.NewScript(`
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', 1)
return found[1] and found[1][1]
`)

// FirstAfter returns the id of the oldest entry behind an id; zero where none is.
func FirstAfter(ctx context.Context, client redis.UniversalClient, stream string, id ID) (ID, error) {
	text, err := after.Run(ctx, client, []string{stream}, id.String()).Text()
	if missing(err) {
		return ID{}, nil
	}
	if err != nil {
		return ID{}, fmt.Errorf("look for an entry of stream %s: %w", stream, err)
	}
	return ParseID(text)
}

// CountTrimmedPending counts, up to limit, the pending entries older than the oldest entry of
// the stream: their payload is lost (XPENDING with a range).
func CountTrimmedPending(ctx context.Context, client redis.UniversalClient, stream, group string, first ID, limit int) (int, error) {
	found, err := client.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: stream, Group: group, Start: "-", End: "(" + first.String(), Count: int64(limit),
	}).Result()
	if err != nil && !missing(err) {
		return 0, fmt.Errorf("ask for pending entries of stream %s: %w", stream, err)
	}
	return len(found), nil
}

// maxCuts bounds the consumers that RecentlySettled asks about.
const maxCuts = 16

// RecentlySettled returns entries that the group was given last and that are most likely
// acknowledged: count up to the last one delivered, and count before the oldest pending entry of
// each consumer, since the newest may all be in flight. Of a stream whose entries were trimmed
// away there are none.
func RecentlySettled(ctx context.Context, client redis.UniversalClient, stream, group string, info Info, count int) ([]Entry, error) {
	if info.Group == nil || info.Group.LastDelivered == (ID{}) {
		return nil, nil
	}
	ends := []string{info.Group.LastDelivered.String()}
	oldest := make([]*redis.XPendingExtCmd, 0, maxCuts)
	pipe := client.Pipeline()
	for _, c := range info.Group.Consumers {
		if c.Pending == 0 || len(oldest) == maxCuts {
			continue
		}
		oldest = append(oldest, pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: stream, Group: group, Start: "-", End: "+", Count: 1, Consumer: c.Name,
		}))
	}
	if len(oldest) > 0 {
		if _, err := pipe.Exec(ctx); err != nil && !missing(err) {
			return nil, fmt.Errorf("ask for pending entries of stream %s: %w", stream, err)
		}
	}
	for _, cmd := range oldest {
		for _, p := range cmd.Val() {
			ends = append(ends, "("+p.ID)
		}
	}
	var entries []Entry
	for _, end := range ends {
		found, err := readRange(ctx, client, "xrevrange", stream, end, "-", count)
		if err != nil {
			return nil, err
		}
		entries = append(entries, found...)
	}
	return entries, nil
}
