package deadletter

import (
	"context"
	"slices"
	"time"

	"processor/internal/retry"
	"processor/internal/stream"
)

const (
	// followed bounds the replayed entries that a Follower remembers: 1.6 MB.
	followed = 100_000
	// followPage is how many pending entries are asked for at once.
	followPage = 1000
	// followEvery is the time between two looks at replayed entries.
	followEvery = 100 * time.Millisecond
	// goneAfter is how long a consumer may not ask for entries before it counts as gone.
	goneAfter = time.Minute
)

// Follower finds out what became of entries that were replayed. Not safe for concurrent use.
type Follower struct {
	queue  *Queue
	group  string
	begun  stream.ID // the newest letter before the replay
	ids    []stream.ID
	untold int
}

// Outcome is what became of replayed entries. Rows counts those that were acknowledged and are no dead letters.
type Outcome struct {
	Rows, DeadAgain, Pending, Unread int
	// Untold are entries beyond those that a Follower remembers.
	Untold int
	// Read reports whether a consumer reads the stream.
	Read bool
}

// Settled reports whether nothing more will happen to the entries, as far as they are remembered.
func (o *Outcome) Settled() bool { return o.Pending+o.Unread == 0 }

// Follow prepares to follow entries that will be replayed; the group is that of the worker.
func (q *Queue) Follow(ctx context.Context, group string) (*Follower, error) {
	newest, err := stream.NewestDeadLetters(ctx, q.client, q.stream, 1)
	if err != nil {
		return nil, err
	}
	f := &Follower{queue: q, group: group}
	if len(newest) > 0 {
		f.begun = newest[0].ID
	}
	return f, nil
}

// Add remembers what Replay returned.
func (f *Follower) Add(ids []stream.ID) {
	room := min(len(ids), followed-len(f.ids))
	f.ids = append(f.ids, ids[:room]...)
	f.untold += len(ids) - room
}

// Await looks until nothing more will happen to the entries, nobody reads the stream, the time has come or ctx ends.
func (f *Follower) Await(ctx context.Context, until time.Time) (Outcome, error) {
	o, err := f.Look(ctx)
	for err == nil && !o.Settled() && o.Read && time.Now().Before(until) && retry.Sleep(ctx, followEvery) == nil {
		o, err = f.Look(ctx)
	}
	return o, err
}

// Look asks Redis what has become of the entries so far.
func (f *Follower) Look(ctx context.Context) (Outcome, error) {
	o := Outcome{Untold: f.untold}
	info, err := stream.Inspect(ctx, f.queue.client, f.queue.stream, f.group)
	if err != nil {
		return o, err
	}
	var delivered stream.ID
	if info.Group != nil {
		delivered = info.Group.LastDelivered
		o.Read = slices.ContainsFunc(info.Group.Consumers, func(c stream.ConsumerInfo) bool { return c.Idle < goneAfter })
	}
	for _, id := range f.ids {
		if id.Compare(delivered) > 0 {
			o.Unread++
		}
	}
	if o.Unread == len(f.ids) {
		return o, nil
	}
	pending, err := f.pending(ctx)
	if err != nil {
		return o, err
	}
	// Dead letters after pending entries: one that moves in between is in both, and counts as a letter.
	if err := f.letters(ctx, func(id stream.ID) {
		o.DeadAgain++
		delete(pending, id)
	}); err != nil {
		return o, err
	}
	o.Pending = len(pending)
	o.Rows = len(f.ids) - o.Unread - o.Pending - o.DeadAgain
	return o, nil
}

func (f *Follower) has(id stream.ID) bool {
	_, is := slices.BinarySearchFunc(f.ids, id, stream.ID.Compare) // XADD makes ascending ids
	return is
}

func (f *Follower) pending(ctx context.Context) (map[stream.ID]bool, error) {
	found := map[stream.ID]bool{}
	for from, last := f.ids[0], f.ids[len(f.ids)-1]; ; {
		page, err := stream.Pending(ctx, f.queue.client, f.queue.stream, f.group, from, last, followPage)
		if err != nil {
			return nil, err
		}
		for _, p := range page {
			if f.has(p.ID) {
				found[p.ID] = true
			}
		}
		if len(page) < followPage {
			return found, nil
		}
		from = page[len(page)-1].ID.Next()
	}
}

// letters calls visit with the source id of each letter that came since the replay began and is of one of the entries.
func (f *Follower) letters(ctx context.Context, visit func(stream.ID)) error {
	for from := f.begun.Next(); ; {
		page, err := stream.DeadLetters(ctx, f.queue.client, f.queue.stream, from, stream.MaxID())
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			if id, err := stream.ParseID(page[i].SourceID); err == nil && f.has(id) {
				visit(id)
			}
		}
		from = page[len(page)-1].ID.Next()
	}
}
