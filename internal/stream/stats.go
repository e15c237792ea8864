package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stats is what Redis tells of a stream, its group and its dead letters.
type Stats struct {
	// Length counts the entries on the stream (XLEN).
	Length int64
	// Lag counts the entries that the group has yet to deliver; nil where Redis cannot tell,
	// as after XDEL or trimming in the middle of what is unread (XINFO GROUPS).
	Lag *int64
	// Pending counts the entries delivered and not acknowledged, over all consumers (XPENDING).
	Pending int64
	// OldestPending is how long ago the oldest pending entry was added; 0 where none is.
	OldestPending time.Duration
	// DeadLetters counts the entries of the dead-letter stream.
	DeadLetters int64
}

// Stats asks Redis in one round trip. Without a stream or group everything is 0.
func (c *Consumer) Stats(ctx context.Context) (Stats, error) {
	pipe := c.client.Pipeline()
	length := pipe.XLen(ctx, c.stream)
	dead := pipe.XLen(ctx, DeadKey(c.stream))
	groups := pipe.XInfoGroups(ctx, c.stream)
	pending := pipe.XPending(ctx, c.stream, c.group)
	if _, err := pipe.Exec(ctx); err != nil && !missing(err) {
		return Stats{}, fmt.Errorf("ask for the state of stream %s: %w", c.stream, err)
	}
	s := Stats{Length: length.Val(), DeadLetters: dead.Val()}
	for _, g := range groups.Val() {
		if g.Name == c.group && g.Lag >= 0 { // -1 is the client's word for nil
			s.Lag = &g.Lag
		}
	}
	if p := pending.Val(); p != nil && p.Count > 0 {
		s.Pending = p.Count
		oldest, err := ParseID(p.Lower)
		if err != nil {
			return Stats{}, fmt.Errorf("XPENDING %s: %w", c.stream, err)
		}
		s.OldestPending = max(time.Since(oldest.Time()), 0)
	}
	return s, nil
}

// missing tells an absent stream (XINFO: "no such key"), group (NOGROUP) or summary (nil)
// from trouble.
func missing(err error) bool {
	return errors.Is(err, redis.Nil) ||
		redis.HasErrorPrefix(err, "NOGROUP") ||
		redis.HasErrorPrefix(err, "no such key")
}
