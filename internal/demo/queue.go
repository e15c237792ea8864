package demo

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// queue is the stream as the worker's consumer group sees it. It uses entry ids only, not the lag,
// because miniredis computes the lag differently.
type queue struct {
	client        redis.UniversalClient
	stream, group string
	// reserve is the number of read entries that trim leaves on the stream. Without a reserve the worker
	// would forecast trimming of unread entries, and warn.
	reserve uint64

	marks []mark // within the reserve, oldest first
}

// mark is the last delivered id at the time when the worker had read that many entries.
type mark struct {
	read uint64
	id   stream.ID
}

// progress is the state of the consumer group.
type progress struct {
	delivered stream.ID // last delivered id
	pending   int64
	oldest    stream.ID // oldest pending entry; zero if pending is 0
}

func (q *queue) progress(ctx context.Context) (progress, error) {
	// XPENDING comes second: entries delivered in between are pending and newer than delivered.
	pipe := q.client.Pipeline()
	groups := pipe.XInfoGroups(ctx, q.stream)
	pending := pipe.XPending(ctx, q.stream, q.group)
	if _, err := pipe.Exec(ctx); err != nil {
		return progress{}, fmt.Errorf("ask for the state of stream %s: %w", q.stream, err)
	}
	p := progress{pending: pending.Val().Count}
	var err error
	for _, g := range groups.Val() {
		if g.Name != q.group {
			continue
		}
		if p.delivered, err = stream.ParseID(g.LastDeliveredID); err != nil {
			return progress{}, fmt.Errorf("XINFO GROUPS %s: %w", q.stream, err)
		}
	}
	if p.pending > 0 {
		if p.oldest, err = stream.ParseID(pending.Val().Lower); err != nil {
			return progress{}, fmt.Errorf("XPENDING %s: %w", q.stream, err)
		}
	}
	return p, nil
}

// trim removes old acknowledged entries (XTRIM MINID), so that a demo of hours does not fill Redis. The
// worker never trims, because the stream belongs to the producer. read is the number of entries that the
// worker has read. Pending and unread entries are kept.
func (q *queue) trim(ctx context.Context, read uint64) error {
	p, err := q.progress(ctx)
	if err != nil {
		return err
	}
	if n := len(q.marks); n == 0 || read > q.marks[n-1].read+q.reserve/1000 {
		q.marks = append(q.marks, mark{read: read, id: p.delivered})
	}
	var keep stream.ID
	for len(q.marks) > 0 && read-q.marks[0].read >= q.reserve {
		keep, q.marks = q.marks[0].id, q.marks[1:]
	}
	if p.pending > 0 && p.oldest.Compare(keep) < 0 {
		keep = p.oldest
	}
	if keep == (stream.ID{}) {
		return nil
	}
	if err := q.client.XTrimMinID(ctx, q.stream, keep.String()).Err(); err != nil {
		return fmt.Errorf("trim stream %s: %w", q.stream, err)
	}
	return nil
}

// drained reports whether every entry was delivered and acknowledged. The publisher must have stopped.
func (q *queue) drained(ctx context.Context) (bool, error) {
	newest, err := q.client.XRevRangeN(ctx, q.stream, "+", "-", 1).Result()
	if err != nil {
		return false, fmt.Errorf("read the newest entry of stream %s: %w", q.stream, err)
	}
	p, err := q.progress(ctx)
	if err != nil {
		return false, err
	}
	// trim keeps the newest entry, so an empty stream never had an entry.
	unread := len(newest) > 0 && newest[0].ID != p.delivered.String()
	return !unread && p.pending == 0, nil
}
