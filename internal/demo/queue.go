package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"processor/internal/deadletter"
	"processor/internal/fleet"
	"processor/internal/position"
	"processor/internal/stream"
)

// queue is the stream as the worker's consumer group sees it. What it decides depends on entry ids only, not on the
// lag, because miniredis computes the lag differently.
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
	lag       uint64    // entries not delivered yet; miniredis computes it differently
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
		p.lag = uint64(max(g.Lag, 0))
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

// newest returns the id of the newest entry; zero if there never was one. trim keeps the newest entry.
func (q *queue) newest(ctx context.Context) (stream.ID, error) {
	newest, err := q.client.XRevRangeN(ctx, q.stream, "+", "-", 1).Result()
	if err != nil || len(newest) == 0 {
		return stream.ID{}, during("read the newest entry of stream "+q.stream, err)
	}
	return stream.ParseID(newest[0].ID)
}

// done reports whether every entry up to an id was delivered and acknowledged.
func (q *queue) done(ctx context.Context, upTo stream.ID) (bool, error) {
	p, err := q.progress(ctx)
	return err == nil && p.delivered.Compare(upTo) >= 0 && (p.pending == 0 || p.oldest.Compare(upTo) > 0), err
}

// drained reports whether every entry was delivered and acknowledged. The publishers must have stopped.
func (q *queue) drained(ctx context.Context) (bool, error) {
	newest, err := q.newest(ctx)
	if err != nil {
		return false, err
	}
	p, err := q.progress(ctx)
	return err == nil && p.delivered.Compare(newest) >= 0 && p.pending == 0, err
}

// valid returns up to count of the newest entries that can be decoded, as the publisher wrote them.
func (q *queue) valid(ctx context.Context, count int) ([]fleet.Record, error) {
	var records []fleet.Record
	var decoder position.Decoder
	for last := "+"; len(records) < count; {
		entries, err := q.client.XRevRangeN(ctx, q.stream, last, "-", int64(count)).Result()
		if err != nil {
			return nil, fmt.Errorf("read the newest entries of stream %s: %w", q.stream, err)
		}
		for _, entry := range entries {
			payload, _ := entry.Values["payload"].(string)
			codec, _ := entry.Values["codec"].(string)
			p, err := decoder.Decode([]byte(payload))
			if err == nil && len(records) < count {
				records = append(records, fleet.Record{DeviceID: p.DeviceID, Timestamp: p.Timestamp.UTC(), Codec: codec, Payload: []byte(payload)})
			}
		}
		decoder.Reset()
		if len(entries) < count {
			break
		}
		last = "(" + entries[len(entries)-1].ID
	}
	return records, nil
}

// letters are the dead letters of a stream.
type letters struct {
	total    int64
	byReason deadletter.Tally
	bad      uint64 // distinct bad entries of the demo
	other    uint64 // letters of anything else
}

// letters reads the dead letters, a page at a time.
func (q *queue) letters(ctx context.Context) (letters, error) {
	found := letters{byReason: deadletter.Tally{}}
	chosen, err := deadletter.NewQueue(q.client, q.stream).Select(ctx, deadletter.Filter{})
	if err != nil {
		return letters{}, err
	}
	seen := map[string]bool{}
	err = chosen.Pages(ctx, func(page []deadletter.Letter) error {
		found.byReason.Add(page)
		for i := range page {
			found.total++
			if name := string(page[i].Value("device_id")); strings.HasPrefix(name, badMark) {
				seen[name] = true
			} else {
				found.other++
			}
		}
		return nil
	})
	found.bad = uint64(len(seen))
	return found, err
}

// countLetters returns the number of dead letters.
func (q *queue) countLetters(ctx context.Context) (int64, error) {
	n, err := q.client.XLen(ctx, stream.DeadKey(q.stream)).Result()
	return n, during("count the dead letters", err)
}

func during(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
