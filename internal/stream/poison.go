package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// markExpiry is how long the marks of a stream are kept after the last one.
const markExpiry = 7 * 24 * time.Hour

// PoisonKey names the hash of the marks of a stream, in the slot of the stream.
func PoisonKey(stream string) string { return beside(stream, ":poison") }

// Mark notes that this process is about to handle the entry by itself, and returns how many processes
// have noted that without Unmark, this one included: all but this one ended while they handled it. Nothing
// is noted where Redis would refuse to take it back.
func (c *Consumer) Mark(ctx context.Context, id ID) (int, error) {
	key := PoisonKey(c.stream)
	fault := func(err error) error {
		return fmt.Errorf("mark entry %s of stream %s: %w. Fix: let the role use HINCRBY, HDEL and EXPIRE on %s, remove the key if it is no hash, and give Redis memory", id, c.stream, err, key)
	}
	_, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.HDel(ctx, key, "")
		pipe.Expire(ctx, key, markExpiry)
		return nil
	})
	if err != nil {
		return 0, fault(err)
	}
	var marks *redis.IntCmd
	_, err = c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		marks = pipe.HIncrBy(ctx, key, c.markField(id), 1)
		pipe.Expire(ctx, key, markExpiry)
		return nil
	})
	if err != nil {
		return 0, fault(err)
	}
	return int(marks.Val()), nil
}

// Unmark takes the marks of the entry back: the process has survived it.
func (c *Consumer) Unmark(ctx context.Context, id ID) error {
	if err := c.client.HDel(ctx, PoisonKey(c.stream), c.markField(id)).Err(); err != nil {
		return fmt.Errorf("unmark entry %s of stream %s: %w", id, c.stream, err)
	}
	return nil
}

func (c *Consumer) markField(id ID) string { return c.group + " " + id.String() }

// renewPage bounds the entries of one XCLAIM.
const renewPage = 1000

// Renew sets the idle time of the entries to 0 where they are pending for at least minIdle, so that
// XAUTOCLAIM passes them by. It counts as no delivery (XCLAIM … JUSTID).
func (c *Consumer) Renew(ctx context.Context, minIdle time.Duration, ids []ID) error {
	for page := range slices.Chunk(ids, renewPage) {
		err := c.client.XClaimJustID(ctx, &redis.XClaimArgs{
			Stream: c.stream, Group: c.group, Consumer: c.name, MinIdle: minIdle, Messages: idStrings(page),
		}).Err()
		if err != nil {
			return fmt.Errorf("renew %d entries of stream %s: %w", len(ids), c.stream, err)
		}
	}
	return nil
}

// Refused reports whether Redis has answered a command with an error, rather than not at all.
func Refused(err error) bool {
	var refusal redis.Error
	return errors.As(err, &refusal)
}

// Size returns the bytes of memory that a Clone of the entry holds.
func (e *Entry) Size() int { return len(e.Payload) + len(e.fields) }
