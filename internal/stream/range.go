package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// maxLetter bounds the bytes of an entry that the tools hold: the maximum of --max-entry-bytes, and what a
// dead letter has beyond its entry.
const maxLetter = 17 << 20

// readRange sends XRANGE or XREVRANGE. Of an entry beyond maxLetter the beginning is kept
// (Entry.Oversize). Where a reply breaks off, it asks for fewer entries at a time. The client's own reader makes a map of the fields, and so loses their
// order and all but one of those with one name.
func readRange(ctx context.Context, client redis.UniversalClient, command, stream, start, stop string, count int) ([]Entry, error) {
	var entries []Entry
	for at := count; len(entries) < count; {
		at = min(at, count-len(entries))
		found, err := readRangeOnce(ctx, client, command, stream, start, stop, at)
		var broken *BrokenReplyError
		if errors.As(err, &broken) && at > 1 && ctx.Err() == nil {
			at /= 2
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", stream, err)
		}
		entries = append(entries, found...)
		if len(found) < at {
			break
		}
		start = "(" + found[len(found)-1].ID.String()
	}
	return entries, nil
}

func readRangeOnce(ctx context.Context, client redis.UniversalClient, command, stream, start, stop string, count int) ([]Entry, error) {
	w, err := dial(ctx, client, stream, redirect{})
	if err != nil {
		return nil, err
	}
	reply, err := w.do(ctx, query{
		commands: [][]string{{command, stream, start, stop, "COUNT", strconv.Itoa(count)}},
		entries:  count,
		limits:   limits{entry: maxLetter, depth: rangeDepth},
		timeout:  replyTimeout,
	}, nil)
	if err := errors.Join(err, w.close()); err != nil {
		return nil, err
	}
	return parseRange(reply)
}
