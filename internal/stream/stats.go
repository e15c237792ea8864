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
	// Exists is false where there is no such stream: everything else is then zero.
	Exists bool
	// Length counts the entries on the stream.
	Length int64
	// Lag counts the entries that the group has yet to deliver; nil where nobody can tell, as after
	// XDEL in the middle of what is unread.
	Lag *int64
	// Pending counts the entries delivered and not acknowledged, over all consumers (XPENDING).
	Pending int64
	// OldestPending is how long ago the oldest pending entry was added; 0 where none is.
	OldestPending time.Duration

	// Added counts the entries ever added; nil where the server does not tell.
	Added *int64
	// Read counts those of them that the group has passed; nil where the server has no count.
	Read *int64
	// TrimmedUnread counts entries that were trimmed or deleted before the group had them. It is never
	// more than is certain.
	TrimmedUnread int64
	// Doubtful counts entries that may have been: Redis's count of read entries is not known to be
	// right, as after a restart, a failover or XGROUP SETID.
	Doubtful int64

	grouped       bool // the stream has the group
	lastDelivered ID
	run           string
	right         *int64 // what Read should be; nil where one cannot tell
	marked        bool   // that Read is right is noted already
}

// Stats asks Redis in one script. Without a stream or group everything is 0.
func (c *Consumer) Stats(ctx context.Context) (Stats, error) {
	started := c.count.started()
	found, err := lookAt(ctx, c.client, c.stream, c.group)
	if err != nil || !found.hasGroup {
		return found.stats(time.Now(), false), err
	}
	exact := c.count.see(started, found.run, found.lastDelivered, found.read)
	if !exact && found.confirms() {
		exact = true
		c.count.confirm(found.run, found.lastDelivered, *found.read)
	}
	return found.stats(time.Now(), exact), nil
}

func (s *state) stats(now time.Time, exact bool) Stats {
	loss := s.lost(exact)
	stats := Stats{
		Exists: s.exists, Length: s.length, Lag: s.trueLag(), Pending: s.pending,
		Added: s.added, Read: s.read,
		TrimmedUnread: loss.entries, Doubtful: loss.doubtful,
		grouped: s.hasGroup, lastDelivered: s.lastDelivered, run: s.run, right: loss.read,
	}
	if s.pending > 0 && s.oldestPending != (ID{}) {
		stats.OldestPending = max(now.Sub(s.oldestPending.Time()), 0)
	}
	if stats.right == nil && exact {
		stats.right = s.read
	}
	stats.marked = s.read != nil && (s.run == "" || s.counted == mark(s.run, s.lastDelivered, *s.read))
	return stats
}

// trueLag is Redis's lag, but where the stream itself shows how much is unread.
func (s *state) trueLag() *int64 {
	if entries, known := s.undelivered(); known {
		return &entries
	}
	if s.added == nil || (s.lag != nil && *s.lag < 0) {
		return nil // miniredis says the length instead
	}
	return s.lag
}

// OldestUnread returns how long ago the oldest entry that the group has yet to deliver was added, 0 without one; nil where
// there is no group.
func (c *Consumer) OldestUnread(ctx context.Context, stats Stats) (*time.Duration, error) {
	if !stats.grouped {
		return nil, nil
	}
	if stats.Lag != nil && *stats.Lag == 0 {
		return new(time.Duration), nil
	}
	first, err := FirstAfter(ctx, c.client, c.stream, stats.lastDelivered)
	if err != nil {
		return nil, err
	}
	if first == (ID{}) {
		return new(time.Duration), nil
	}
	return new(max(time.Since(first.Time()), 0)), nil
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

// settle sets the group's count of read entries, unless the group has moved meanwhile, and notes that
// it is right. ARGV: group, last delivered id, entries-read as seen (-1: none) and as it is right, and the
// text of the note, empty where the server's run is not known.
var settle = redis.NewScript(`
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
	local field = {}
	for i = 1, #group, 2 do field[group[i]] = group[i + 1] end
	if field['name'] == ARGV[1] and field['last-delivered-id'] == ARGV[2]
		and (field['entries-read'] or -1) == tonumber(ARGV[3]) then
		if ARGV[3] ~= ARGV[4] then
			redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2], 'ENTRIESREAD', ARGV[4])
		end
		if KEYS[2] and ARGV[5] ~= '' then
			redis.pcall('SET', KEYS[2], ARGV[5])
		end
		return 1
	end
end
return 0
`)

// Settle makes the group's count of read entries right (XGROUP SETID … ENTRIESREAD): entries that stats
// found trimmed count as passed, so that nobody counts the same loss twice, and a count that a restart or
// a failover left behind is caught up. It reports false where there was nothing to do, another replica
// was faster or the group has moved on.
func (c *Consumer) Settle(ctx context.Context, stats Stats) (bool, error) {
	if stats.right == nil {
		return false, nil
	}
	seen, right := int64(-1), *stats.right
	if stats.Read != nil {
		seen = *stats.Read
	}
	if seen == right && stats.marked {
		c.count.confirm(stats.run, stats.lastDelivered, right)
		return false, nil
	}
	note := ""
	if stats.run != "" {
		note = mark(stats.run, stats.lastDelivered, right)
	}
	settled, err := withCounted(c.stream, func(keys []string) *redis.Cmd {
		return settle.Run(ctx, c.client, keys, c.group, stats.lastDelivered.String(), seen, right, note)
	}).Bool()
	if missing(err) {
		return false, nil // the stream is gone
	}
	if err != nil {
		return false, fmt.Errorf("settle the count of entries read from stream %s: %w", c.stream, err)
	}
	if settled {
		c.count.confirm(stats.run, stats.lastDelivered, right)
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
