package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cursor is where XAUTOCLAIM goes on in the pending list. The zero value is its beginning.
type Cursor struct{ id ID }

// AtBeginning reports whether the cursor has come round.
func (c Cursor) AtBeginning() bool { return c.id == ID{} }

// Claimed is what one XAUTOCLAIM took over.
type Claimed struct {
	Batch
	// Next is for the next call.
	Next Cursor
	// Trimmed are pending entries of any consumer, however short their time, that were no longer on
	// the stream: Redis took them off the pending list, and has nothing left of them.
	Trimmed []ID
}

// Claim takes over entries of any consumer of the group, this one too, that have been pending
// for minIdle, and makes them pending here (XAUTOCLAIM). It looks at some ten times count
// entries of the pending list at most; call it with the returned cursor until that has come
// round. After a *BrokenReplyError what it took over is pending here.
func (c *Consumer) Claim(ctx context.Context, minIdle time.Duration, from Cursor, count int) (Claimed, error) {
	q := c.query(count, claimDepth, []string{"XAUTOCLAIM", c.stream, c.group, c.name,
		strconv.FormatInt(minIdle.Milliseconds(), 10), from.id.String(), "COUNT", strconv.Itoa(count)})
	var claimed Claimed
	_, err := c.readInto(ctx, &claimed.Batch, q, claimed.parse)
	if err != nil {
		return Claimed{}, c.readError(err)
	}
	claimed.Redelivered = true
	return claimed, nil
}

// errTooOld: before Redis 7.0 XAUTOCLAIM did not tell which entries are gone. Asking for the
// version would need a right (INFO) that the worker does not have.
var errTooOld = errors.New("this Redis is too old: Redis 7.0 or later is needed")

// parse reads a reply of XAUTOCLAIM: *3 $cursor *n (entries as XREADGROUP has them) *m (ids that were deleted; since
// Redis 7.0). The entries are appended to those given and point into reply.
func (c *Claimed) parse(entries []Entry, reply []byte) (d delivered, err error) {
	r := respReader{buf: reply}
	if err := r.errorReply(); err != nil {
		return d, err
	}
	parts, err := r.array()
	switch {
	case parts == 2:
		return d, errTooOld
	case err != nil || parts < 3:
		return d, errors.Join(errProtocol, err)
	}
	if c.Next.id, err = r.id(); err != nil {
		return d, err
	}
	if d.entries, err = r.entries(entries); err != nil {
		return d, err
	}
	deleted, err := r.array()
	if err != nil {
		return d, err
	}
	for range deleted {
		id, err := r.id()
		if err != nil {
			return d, err
		}
		c.Trimmed = append(c.Trimmed, id)
	}
	d.bytes = len(reply)
	return d, nil
}

// pendingPage is how many pending entries Deliveries asks for at once.
const pendingPage = 1000

// Deliveries says how often each of the batch's entries was delivered, by Redis's own count
// (XPENDING). Entries that are not pending for this consumer are absent. The batch must be in
// the order of its ids, as Redis delivers it.
func (c *Consumer) Deliveries(ctx context.Context, batch Batch) (map[ID]int64, error) {
	if len(batch.Entries) == 0 {
		return nil, nil
	}
	counts := make(map[ID]int64, len(batch.Entries))
	start, last := batch.Entries[0].ID.String(), batch.Entries[len(batch.Entries)-1].ID
	// Page by page: any number of this consumer's others may lie between the batch's.
	for {
		page, err := c.client.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: c.stream, Group: c.group, Consumer: c.name,
			Start: start, End: last.String(), Count: pendingPage,
		}).Result()
		if redis.HasErrorPrefix(err, "NOGROUP") {
			return nil, ErrNoGroup
		}
		if err != nil {
			return nil, fmt.Errorf("ask how often entries of stream %s were delivered: %w", c.stream, err)
		}
		for _, p := range page {
			id, err := ParseID(p.ID)
			if err != nil {
				return nil, fmt.Errorf("XPENDING %s: %w", c.stream, err)
			}
			if _, asked := slices.BinarySearchFunc(batch.Entries, id, compareID); asked {
				counts[id] = p.RetryCount
			}
		}
		if len(page) < pendingPage {
			return counts, nil
		}
		start = "(" + page[len(page)-1].ID
	}
}

func compareID(e Entry, id ID) int { return e.ID.Compare(id) }

// RemoveGone removes the consumers that have not asked for anything for maxIdle and hold no
// pending entry, and returns their names. This consumer itself stays.
func (c *Consumer) RemoveGone(ctx context.Context, maxIdle time.Duration) ([]string, error) {
	consumers, err := c.client.XInfoConsumers(ctx, c.stream, c.group).Result()
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list consumers of stream %s: %w", c.stream, err)
	}
	var gone []string
	for _, other := range consumers {
		if other.Name == c.name || other.Pending > 0 || other.Idle < maxIdle {
			continue
		}
		left, err := NewConsumer(c.client, c.stream, c.group, other.Name).Leave(ctx)
		if err != nil {
			return gone, err
		}
		if left {
			gone = append(gone, other.Name)
		}
	}
	return gone, nil
}
