package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Page reads entries of a stream from one id to another, both included, and the newest first where from is
// behind to: at most 1000 entries and 1 MiB, but at least one. An empty page means that there are no more.
func Page(ctx context.Context, client redis.UniversalClient, stream string, from, to ID) ([]Entry, error) {
	entries, err := readPage(ctx, client, stream, from, to)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return entries, nil
}

func readPage(ctx context.Context, client redis.UniversalClient, key string, from, to ID) ([]Entry, error) {
	command := "XRANGE"
	if from.Compare(to) > 0 {
		command = "XREVRANGE"
	}
	cmd := redis.NewRawCmd(ctx, "eval", pageScript, 1, key, command, from.String(), to.String(), pageLetters, pageBytes, "")
	cmd.SetFirstKeyPos(3)
	if err := client.Process(ctx, cmd); err != nil {
		return nil, err
	}
	return parseRange(cmd.Val())
}

// PendingEntry is an entry that was delivered and is not acknowledged.
type PendingEntry struct {
	ID       ID
	Consumer string
	// Idle is the time since it was delivered last, and Deliveries how often it was.
	Idle       time.Duration
	Deliveries int64
}

// Pending returns up to count pending entries of a group with ids from first to last, both included, in the order
// of their ids (XPENDING). Without stream or group there are none.
func Pending(ctx context.Context, client redis.UniversalClient, stream, group string, first, last ID, count int) ([]PendingEntry, error) {
	found, err := client.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: stream, Group: group, Start: first.String(), End: last.String(), Count: int64(count),
	}).Result()
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("ask for pending entries of stream %s: %w", stream, err)
	}
	pending := make([]PendingEntry, len(found))
	for i, p := range found {
		id, err := ParseID(p.ID)
		if err != nil {
			return nil, fmt.Errorf("XPENDING %s: %w", stream, err)
		}
		pending[i] = PendingEntry{ID: id, Consumer: p.Consumer, Idle: p.Idle, Deliveries: p.RetryCount}
	}
	return pending, nil
}

// countScript counts entries behind one id up to another. ARGV: the two ids, and the maximum. It returns the count and the
// last id. Payloads stay within Redis.
var countScript = redis.NewScript(`
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#found, #found > 0 and found[#found][1] or ''}
`)

// Position counts the entries of a stream behind one id up to and including another, in steps of 1000. It stops at limit and then
// reports false.
func Position(ctx context.Context, client redis.UniversalClient, stream string, behind, id ID, limit int) (n int, complete bool, err error) {
	for from := behind.String(); n < limit; {
		step := min(pageLetters, limit-n)
		reply, err := countScript.Run(ctx, client, []string{stream}, from, id.String(), step).Slice()
		if err != nil {
			return n, false, fmt.Errorf("count entries of stream %s: %w", stream, err)
		}
		found, last := reply[0].(int64), reply[1].(string)
		n += int(found)
		if int(found) < step || last == id.String() {
			return n, true, nil
		}
		from = last
	}
	return n, false, nil
}

// LetterOf returns the id of the dead letter that was written for an entry, as the hash of source ids has it. It reports false
// where the hash does not know the entry or may not be read: it may be deleted at any time.
func LetterOf(ctx context.Context, client redis.UniversalClient, stream string, source ID) (ID, bool, error) {
	value, err := client.HGet(ctx, SourcesKey(stream), source.String()).Result()
	switch {
	case missing(err), redis.IsPermissionError(err), redis.HasErrorPrefix(err, "WRONGTYPE"):
		return ID{}, false, nil
	case err != nil:
		return ID{}, false, fmt.Errorf("look for the dead letter of entry %s of stream %s: %w", source, stream, err)
	}
	letter, _, _ := strings.Cut(value, " ")
	id, ok := parseID(letter)
	return id, ok, nil
}
