package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stats is what Redis tells of a stream and its group at one moment.
type Stats struct {
	// Length counts the entries on the stream (XLEN).
	Length int64
	// Lag counts the entries that the group has yet to deliver; nil where Redis cannot tell,
	// as after XDEL in the middle of what is unread (XINFO GROUPS).
	Lag *int64
	// Pending counts the entries delivered and not acknowledged, over all consumers (XPENDING).
	Pending int64
	// OldestPending is how long ago the oldest pending entry was added; 0 where none is.
	OldestPending time.Duration

	// Added counts the entries ever added, Read those of them that the group has passed; Read
	// is 0 where Redis does not know (XINFO STREAM, XINFO GROUPS).
	Added, Read int64
	// TrimmedUnread counts entries that were trimmed or deleted before the group had them. 0
	// also where the moment does not allow to tell.
	TrimmedUnread int64

	lastDelivered ID
}

// Stats asks Redis in one transaction. Without a stream or group everything is 0.
func (c *Consumer) Stats(ctx context.Context) (Stats, error) {
	pipe := c.client.TxPipeline()
	info := pipe.XInfoStream(ctx, c.stream)
	groups := pipe.XInfoGroups(ctx, c.stream)
	pending := pipe.XPending(ctx, c.stream, c.group)
	if _, err := pipe.Exec(ctx); err != nil && !missing(err) {
		return Stats{}, fmt.Errorf("ask for the state of stream %s: %w", c.stream, err)
	}
	var s Stats
	if p := pending.Val(); p != nil && p.Count > 0 {
		s.Pending = p.Count
		oldest, err := ParseID(p.Lower)
		if err != nil {
			return Stats{}, fmt.Errorf("XPENDING %s: %w", c.stream, err)
		}
		s.OldestPending = max(time.Since(oldest.Time()), 0)
	}
	if info.Val() == nil {
		return s, nil
	}
	s.Length, s.Added = info.Val().Length, info.Val().EntriesAdded
	for i := range groups.Val() {
		if g := &groups.Val()[i]; g.Name == c.group {
			if err := s.group(info.Val(), g); err != nil {
				return Stats{}, fmt.Errorf("XINFO of stream %s: %w", c.stream, err)
			}
		}
	}
	return s, nil
}

// DeadLetterLength counts the entries of the dead-letter stream (XLEN); 0 where there is none. It is
// apart from Stats, which must not fail with it.
func (c *Consumer) DeadLetterLength(ctx context.Context) (int64, error) {
	n, err := c.client.XLen(ctx, DeadKey(c.stream)).Result()
	if err != nil {
		return 0, fmt.Errorf("count the dead letters of stream %s: %w", c.stream, err)
	}
	return n, nil
}

func (s *Stats) group(info *redis.XInfoStream, g *redis.XInfoGroup) (err error) {
	if s.lastDelivered, err = ParseID(g.LastDeliveredID); err != nil {
		return err
	}
	s.Read = g.EntriesRead
	if g.Lag < 0 { // the client's word for nil
		return nil
	}
	s.Lag = &g.Lag

	// How many unread entries there are can be told apart from how many there should be in two
	// cases: none of what is on the stream was delivered, or all of it was.
	var unread int64
	switch {
	case s.Length == 0:
	case g.LastDeliveredID == info.LastGeneratedID:
	default:
		first, err := ParseID(info.FirstEntry.ID)
		if err != nil {
			return err
		}
		if first.Compare(s.lastDelivered) <= 0 {
			return nil
		}
		unread = s.Length
	}
	s.TrimmedUnread = max(g.Lag-unread, 0)
	if s.Read > 0 {
		s.TrimmedUnread = max(s.Added-s.Read-unread, s.TrimmedUnread)
	}
	return nil
}

// settleTrimmed sets the group's count of read entries, unless the group has moved meanwhile.
var settleTrimmed = redis.NewScript(`
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
	local field = {}
	for i = 1, #group, 2 do field[group[i]] = group[i + 1] end
	if field['name'] == ARGV[1] and field['last-delivered-id'] == ARGV[2]
		and (field['entries-read'] or 0) == tonumber(ARGV[3]) then
		redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2], 'ENTRIESREAD', ARGV[3] + ARGV[4])
		return 1
	end
end
return 0
`)

// SettleTrimmed counts the entries that stats found trimmed as passed by the group (XGROUP
// SETID … ENTRIESREAD), so that the lag is true again and nobody counts the same loss twice. It
// reports false where another replica was faster or the group has moved on: then ask again.
func (c *Consumer) SettleTrimmed(ctx context.Context, stats Stats) (bool, error) {
	settled, err := settleTrimmed.Run(ctx, c.client, []string{c.stream},
		c.group, stats.lastDelivered.String(), stats.Read, stats.TrimmedUnread).Bool()
	if err != nil {
		return false, fmt.Errorf("settle the trimmed entries of stream %s: %w", c.stream, err)
	}
	return settled, nil
}

// missing tells an absent stream (XINFO: "no such key"), group (NOGROUP) or summary (nil)
// from trouble.
func missing(err error) bool {
	return errors.Is(err, redis.Nil) ||
		redis.HasErrorPrefix(err, "NOGROUP") ||
		redis.HasErrorPrefix(err, "no such key")
}
