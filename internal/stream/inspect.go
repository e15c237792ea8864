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
	// Length counts the entries on the stream, Added those that ever were on it.
	Length, Added int64
	// First is the id of the oldest entry; zero where the stream is empty.
	First ID
	// LastGenerated is the id of the newest entry, on the stream or no longer.
	LastGenerated ID
	// MaxDeleted is the greatest id that XDEL removed; trimming leaves it alone.
	MaxDeleted ID
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

// Inspect asks Redis about a stream and a group, in one round trip (XINFO STREAM, GROUPS and
// CONSUMERS, XPENDING). A stream or group that is missing is no error.
func Inspect(ctx context.Context, client redis.UniversalClient, stream, group string) (Info, error) {
	// The counts of the stream first: entries delivered meanwhile then look like fewer losses,
	// never like more.
	pipe := client.Pipeline()
	about := pipe.XInfoStream(ctx, stream)
	groups := pipe.XInfoGroups(ctx, stream)
	consumers := pipe.XInfoConsumers(ctx, stream, group)
	pending := pipe.XPending(ctx, stream, group)
	_, err := pipe.Exec(ctx)
	// Exec's is the first error of a command, or of none of them where the connection failed.
	for _, err := range []error{err, about.Err(), groups.Err(), consumers.Err(), pending.Err()} {
		if err != nil && !missing(err) {
			return Info{}, fmt.Errorf("ask for the state of stream %s: %w", stream, err)
		}
	}
	if about.Err() != nil {
		return Info{}, nil
	}
	s := about.Val()
	info := Info{Exists: true, Length: s.Length, Added: s.EntriesAdded}
	ids := idReader{}
	info.First = ids.read(s.FirstEntry.ID)
	info.LastGenerated = ids.read(s.LastGeneratedID)
	info.MaxDeleted = ids.read(s.MaxDeletedEntryID)
	for _, g := range groups.Val() {
		if g.Name != group {
			continue
		}
		info.Group = &GroupInfo{LastDelivered: ids.read(g.LastDeliveredID), Pending: g.Pending}
		if g.Lag >= 0 { // -1 is the client's word for nil
			info.Group.Lag = &g.Lag
		}
		// The client's word for nil is 0, which it can only be for a group that has read nothing.
		if g.EntriesRead > 0 || info.Group.LastDelivered == (ID{}) {
			info.Group.Read = &g.EntriesRead
		}
		if p := pending.Val(); p != nil && p.Count > 0 {
			info.Group.OldestPending = ids.read(p.Lower)
		}
		for _, c := range consumers.Val() {
			info.Group.Consumers = append(info.Group.Consumers, ConsumerInfo{Name: c.Name, Pending: c.Pending, Idle: c.Idle})
		}
	}
	if ids.err != nil {
		return Info{}, fmt.Errorf("state of stream %s: %w", stream, ids.err)
	}
	return info, nil
}

// idReader reads several ids and keeps the first error.
type idReader struct{ err error }

func (r *idReader) read(text string) ID {
	if text == "" {
		return ID{}
	}
	id, err := ParseID(text)
	if err != nil && r.err == nil {
		r.err = err
	}
	return id
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
		found, _, err := readRange(ctx, client, "xrevrange", stream, end, "-", count)
		if err != nil {
			return nil, err
		}
		entries = append(entries, found...)
	}
	return entries, nil
}
