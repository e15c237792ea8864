package demo

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// queue is the stream as the worker's group sees it. It asks for ids alone, which miniredis has too;
// its lag is another number than Redis's.
type queue struct {
	client        redis.UniversalClient
	stream, group string
	// reserve is how many entries that were read stay on the stream. Without them the worker would
	// see trimming at the heels of its reading, and warn.
	reserve uint64

	marks []mark // within the reserve, the oldest first
}

// mark says where the group was when the worker had read that many entries.
type mark struct {
	read uint64
	id   stream.ID
}

// progress is how far the group has come.
type progress struct {
	delivered stream.ID // the newest entry that was delivered
	pending   int64
	oldest    stream.ID // the oldest pending entry, where there is one
}

func (q *queue) progress(ctx context.Context) (progress, error) {
	// In this order: what is delivered between the two commands is newer than delivered.
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

// trim drops old entries that the group is through with (XTRIM MINID). The worker never does, as the
// stream belongs to the producer, and a demo that runs for hours would fill Redis. read counts what the
// worker has read. An entry that was not acknowledged is never dropped.
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

// drained reports whether the group has had and acknowledged everything. Nobody may publish meanwhile.
func (q *queue) drained(ctx context.Context) (bool, error) {
	newest, err := q.client.XRevRangeN(ctx, q.stream, "+", "-", 1).Result()
	if err != nil {
		return false, fmt.Errorf("read the newest entry of stream %s: %w", q.stream, err)
	}
	p, err := q.progress(ctx)
	if err != nil {
		return false, err
	}
	// trim keeps the newest entry, so a stream without one never had any.
	unread := len(newest) > 0 && newest[0].ID != p.delivered.String()
	return !unread && p.pending == 0, nil
}
