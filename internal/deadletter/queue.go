// Package deadletter is what a person does with entries that could not be rows: find them, look
// at them, try them, put them back on their stream or drop them. Package stream writes them.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/go-faster/jx"
	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// Queue is the dead letters of one stream.
type Queue struct {
	client redis.UniversalClient
	stream string
}

// NewQueue names the stream whose dead letters these are. The client stays the caller's.
func NewQueue(client redis.UniversalClient, stream string) *Queue {
	return &Queue{client: client, stream: stream}
}

// Letter is a dead letter as it lies in the queue.
type Letter struct {
	stream.DeadLetter
	// Device is the payload's device_id as far as the payload can be read, else that of the
	// entry's field; empty where neither is there.
	Device string
}

// NewLetter reads the device of a dead letter.
func NewLetter(l *stream.DeadLetter) Letter {
	return Letter{DeadLetter: *l, Device: Device(l.Value("payload"), l.Value("device_id"))}
}

// Payload is the entry's payload; nil where it has none.
func (l *Letter) Payload() []byte { return l.Value("payload") }

// Cut reports whether the letter holds only the beginning of its entry. A replay would put an entry on the
// stream that nobody published.
func (l *Letter) Cut() bool { return Reason(l.Reason) == TooLarge }

// Filter chooses letters. Those pass that meet every field; the zero Filter takes all.
type Filter struct {
	Reasons []Reason
	Devices []string
	// Older and Newer bound the time since the entry became a letter; 0 is no bound.
	Older, Newer time.Duration
	// IDs are the letters' own ids.
	IDs []stream.ID
	// Whole leaves out letters that hold only the beginning of their entry.
	Whole bool
	// NewestFirst turns the order round.
	NewestFirst bool
}

func (f *Filter) matches(l *Letter) bool {
	return (len(f.Reasons) == 0 || slices.Contains(f.Reasons, Reason(l.Reason))) &&
		(len(f.Devices) == 0 || slices.Contains(f.Devices, l.Device))
}

// Selection is what a filter chose of a queue at one moment. Letters that come later are not
// in it, so that a replay does not meet again what it has just put back.
type Selection struct {
	queue       *Queue
	filter      Filter
	first, last stream.ID
	leftOut     int
}

// Select fixes which letters are meant. Ages are measured by Redis's clock, which made the ids.
func (q *Queue) Select(ctx context.Context, filter Filter) (*Selection, error) {
	newest, err := stream.NewestDeadLetters(ctx, q.client, q.stream, 1)
	if err != nil {
		return nil, err
	}
	s := &Selection{queue: q, filter: filter}
	if len(newest) == 0 {
		s.first = stream.ID{Millis: 1} // after last: nothing
		return s, nil
	}
	s.last = newest[0].ID
	if filter.Older == 0 && filter.Newer == 0 {
		return s, nil
	}
	now, err := q.client.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask Redis for its time: %w", err)
	}
	if filter.Newer > 0 {
		s.first.Millis = millis(now.Add(-filter.Newer))
	}
	if limit := (stream.ID{Millis: millis(now.Add(-filter.Older)), Seq: math.MaxUint64}); filter.Older > 0 && limit.Compare(s.last) < 0 {
		s.last = limit
	}
	return s, nil
}

func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// Pages calls yield with the letters, the oldest first unless Filter.NewestFirst, a page at a time: a million of them take
// the memory of one page, which is 1 MiB or a single letter. The page is valid until yield returns, whose error ends the walk and
// is returned.
func (s *Selection) Pages(ctx context.Context, yield func(page []Letter) error) error {
	s.leftOut = 0
	if len(s.filter.IDs) > 0 {
		return s.byID(ctx, yield)
	}
	for first, last := s.first, s.last; first.Compare(last) <= 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := first, last
		if s.filter.NewestFirst {
			from, to = last, first
		}
		found, err := stream.DeadLetters(ctx, s.queue.client, s.queue.stream, from, to)
		if err != nil || len(found) == 0 {
			return err
		}
		if err := s.yield(found, yield); err != nil {
			return err
		}
		end := found[len(found)-1].ID
		if end == to {
			return nil
		}
		if s.filter.NewestFirst {
			last = end.Previous()
		} else {
			first = end.Next()
		}
	}
	return nil
}

func (s *Selection) byID(ctx context.Context, yield func(page []Letter) error) error {
	for _, id := range s.filter.IDs {
		if id.Compare(s.first) < 0 || id.Compare(s.last) > 0 {
			continue
		}
		found, err := stream.DeadLetters(ctx, s.queue.client, s.queue.stream, id, id)
		if err != nil {
			return err
		}
		if err := s.yield(found, yield); err != nil {
			return err
		}
	}
	return nil
}

func (s *Selection) yield(found []stream.DeadLetter, yield func(page []Letter) error) error {
	page := make([]Letter, 0, len(found))
	for i := range found {
		l := NewLetter(&found[i])
		switch {
		case !s.filter.matches(&l):
		case s.filter.Whole && l.Cut():
			s.leftOut++
		default:
			page = append(page, l)
		}
	}
	if len(page) == 0 {
		return nil
	}
	return yield(page)
}

// Find returns the letter with an id, else the newest one of the entry that had the id on its stream; nil where there is
// neither. Where the hash of source ids does not know the entry, it reads all letters, a page at a time.
func (q *Queue) Find(ctx context.Context, id stream.ID) (*Letter, error) {
	source := id.String()
	known, isKnown, err := stream.LetterOf(ctx, q.client, q.stream, id)
	if err != nil {
		return nil, err
	}
	ids := []stream.ID{id}
	if isKnown {
		ids = append(ids, known)
	}
	chosen, err := q.Select(ctx, Filter{IDs: ids})
	if err != nil {
		return nil, err
	}
	var letter *Letter
	visit := func(page []Letter) error {
		for i := range page {
			if letter == nil && (page[i].ID == id || page[i].SourceID == source) {
				letter = &page[i]
				return errFound
			}
		}
		return nil
	}
	err = chosen.Pages(ctx, visit)
	if err == nil {
		chosen.filter = Filter{NewestFirst: true}
		err = chosen.Pages(ctx, visit)
	}
	if errors.Is(err, errFound) {
		err = nil
	}
	return letter, err
}

// errFound ends a walk.
var errFound = errors.New("found")

// LeftOut returns how many letters Filter.Whole left out of the last walk over Pages.
func (s *Selection) LeftOut() int { return s.leftOut }

// Device returns the device_id of a payload as far as that can be read, else the value of the entry's field: what cannot
// be decoded may still name its tracker.
func Device(payload, field []byte) string {
	name := ""
	_ = jx.DecodeBytes(payload).ObjBytes(func(d *jx.Decoder, key []byte) error {
		if string(key) != "device_id" || d.Next() != jx.String {
			return d.Skip()
		}
		text, err := d.Str()
		name = text
		return err
	})
	if name == "" {
		name = string(field)
	}
	return name
}
