// Package trace finds a position wherever it is: a row, pending, unread, a dead letter, acknowledged or trimmed, and says how far it
// searched.
//
// Read answer.go (what is found), trace.go (one entry, or a device's positions) and scan.go (the bounded scans).
package trace

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/inspect"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/stream"
)

// Search looks for positions. It changes nothing. Not safe for concurrent use.
type Search struct {
	Client      redis.UniversalClient
	DatabaseURL string
	Streams     []string
	Group       string
	// Scan bounds the entries of each stream that are read, and its dead letters.
	Scan int
	// Say is called with each answer as it is found. Its error ends the search.
	Say func(*Answer) error

	query    Query
	database *inspect.Inspector
	dbErr    error // why rows could not be looked for
	decoder  position.Decoder
	found    int
}

// Query is what to look for: an entry by its ID, else positions of Devices.
type Query struct {
	ID      stream.ID
	Devices []string
	// At and Within choose fix times near one; Since those until now. Without either the newest position of each device is meant.
	At     time.Time
	Within time.Duration
	Since  time.Duration
}

// Errors of Run, after what was found was said.
var (
	ErrNowhere    = errors.New("not found, as far as it was searched")
	ErrIncomplete = errors.New("not every server could be asked")
)

const (
	// maxAnswers bounds the answers of one kind for one device or entry.
	maxAnswers = 100
	// askTimeout bounds one question to PostgreSQL.
	askTimeout = 10 * time.Second
)

// Run searches. Without PostgreSQL it searches Redis, and returns ErrIncomplete.
func (t *Search) Run(ctx context.Context, q Query) error {
	t.query, t.found = q, 0
	t.connect(ctx)
	defer t.close(ctx)
	var err error
	if q.ID != (stream.ID{}) {
		err = t.entry(ctx)
	} else {
		err = t.devices(ctx)
	}
	switch {
	case err != nil:
		return err
	case t.dbErr != nil:
		return ErrIncomplete
	case t.found == 0:
		return ErrNowhere
	}
	return nil
}

func (t *Search) connect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t.database, t.dbErr = inspect.Connect(ctx, t.DatabaseURL)
}

func (t *Search) close(ctx context.Context) {
	if t.database != nil {
		_ = t.database.Close(context.WithoutCancel(ctx))
	}
}

// row returns the row of a position; nil where there is none or rows cannot be looked for.
func (t *Search) row(ctx context.Context, p *position.Position) *inspect.Row {
	if t.dbErr != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	row, err := t.database.NewestOf(ctx, []position.Position{*p})
	t.dbErr = err
	return row
}

// entry answers where the entry with an id is, on each stream.
func (t *Search) entry(ctx context.Context) error {
	for _, name := range t.Streams {
		before := t.found
		searched := Answer{Kind: Searched, Stream: name, EntryID: t.query.ID.String()}
		info, err := stream.Inspect(ctx, t.Client, name, t.Group)
		if err != nil {
			return err
		}
		page, err := stream.Page(ctx, t.Client, name, t.query.ID, t.query.ID)
		if err != nil {
			return err
		}
		searched.Entries, searched.Length = int64(len(page)), info.Length
		if len(page) > 0 {
			err = t.place(ctx, name, &info, &page[0])
		} else {
			err = t.absent(ctx, name, &info)
		}
		if err != nil {
			return err
		}
		letters, total, err := t.lettersOf(ctx, name, t.query.ID)
		if err != nil {
			return err
		}
		searched.Letters, searched.LettersTotal = letters, total
		if err := t.end(&searched, t.found == before); err != nil {
			return err
		}
	}
	return nil
}

// place answers for an entry that is on its stream.
func (t *Search) place(ctx context.Context, name string, info *stream.Info, e *stream.Entry) error {
	a := Answer{Stream: name, EntryID: e.ID.String(), AddedAt: new(e.ID.Time().UTC())}
	p, decodeErr := t.decoder.Decode(e.Payload)
	var row *inspect.Row
	if decodeErr == nil {
		a.Device, a.Fix = p.DeviceID, new(p.Timestamp.UTC())
		row = t.row(ctx, &p)
	}
	pending, err := stream.Pending(ctx, t.Client, name, t.Group, e.ID, e.ID, 1)
	if err != nil {
		return err
	}
	switch {
	case len(pending) > 0:
		err = t.say(a.pending(pending[0]))
	case info.Group == nil || e.ID.Compare(info.Group.LastDelivered) > 0:
		var behind stream.ID
		if info.Group != nil {
			behind = info.Group.LastDelivered
		}
		n, complete, errCount := stream.Position(ctx, t.Client, name, behind, e.ID, t.Scan)
		if errCount != nil {
			return errCount
		}
		a.Kind, a.Position, a.PositionComplete = Unread, new(int64(n)), complete
		err = t.say(&a)
	case row == nil && (t.dbErr == nil || decodeErr != nil):
		a.Kind = Acknowledged
		a.Detail = "without a row"
		if decodeErr != nil {
			a.Detail = decodeErr.Error()
		}
		err = t.say(&a)
	}
	if err == nil && row != nil {
		a.Kind, a.Committed = Row, new(row.IngestedAt.UTC())
		err = t.say(&a)
	}
	return err
}

// absent answers for an id that is not on the stream.
func (t *Search) absent(ctx context.Context, name string, info *stream.Info) error {
	a := Answer{Stream: name, EntryID: t.query.ID.String(), AddedAt: new(t.query.ID.Time().UTC())}
	pending, err := stream.Pending(ctx, t.Client, name, t.Group, t.query.ID, t.query.ID, 1)
	switch {
	case err != nil:
		return err
	case len(pending) > 0:
		a.pending(pending[0])
		a.Detail = "trimmed or deleted meanwhile: only its worker can still have it"
	case !info.Exists || t.query.ID.Compare(info.LastGenerated) > 0:
		return nil
	case info.First != (stream.ID{}) && t.query.ID.Compare(info.First) > 0:
		return nil // others of its time are there: nobody added it, or somebody deleted it
	case info.Group == nil || t.query.ID.Compare(info.Group.LastDelivered) > 0:
		a.Kind, a.Detail = Trimmed, "the group never had it"
	default:
		a.Kind = Unknown
		a.Detail = "before what the group has read, and no longer on the stream: stored, trimmed unread or never added; trace --device finds its row"
	}
	return t.say(&a)
}

// devices answers for each device in turn.
func (t *Search) devices(ctx context.Context) error {
	for _, device := range t.query.Devices {
		if err := t.device(ctx, device); err != nil {
			return err
		}
	}
	return nil
}

// fixes is a range of fix times; zero where there is none and the newest position is meant.
type fixes struct{ first, last time.Time }

func (t *Search) wanted() fixes {
	switch {
	case !t.query.At.IsZero():
		return fixes{t.query.At.Add(-t.query.Within), t.query.At.Add(t.query.Within)}
	case t.query.Since > 0:
		now := time.Now()
		return fixes{now.Add(-t.query.Since), now}
	}
	return fixes{}
}

func (f fixes) newest() bool { return f == fixes{} }

func (f fixes) hold(at time.Time) bool {
	return f.newest() || !at.Before(f.first) && !at.After(f.last)
}

func (t *Search) device(ctx context.Context, device string) error {
	want := t.wanted()
	before := t.found
	told := map[int64]bool{} // fix times, in microseconds, of rows that were told with their entry
	var searched []Answer
	for _, name := range t.Streams {
		s, err := t.deviceOn(ctx, name, device, want, told)
		if err != nil {
			return err
		}
		searched = append(searched, s)
	}
	if err := t.rows(ctx, device, want, told); err != nil {
		return err
	}
	for i := range searched {
		if err := t.end(&searched[i], t.found == before && i == len(searched)-1); err != nil {
			return err
		}
	}
	return nil
}

// rows answers with the rows whose entries were not found on a stream.
func (t *Search) rows(ctx context.Context, device string, want fixes, told map[int64]bool) error {
	if t.dbErr != nil {
		return t.say(&Answer{Kind: Unknown, Device: device, Detail: "rows: " + observe.Scrub(t.dbErr.Error())})
	}
	count := maxAnswers
	if want.newest() {
		count, want = 1, fixes{time.Unix(0, 0).AddDate(-2000, 0, 0), time.Unix(0, 0).AddDate(9000, 0, 0)}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	rows, err := t.database.RowsOf(ctx, device, want.first, want.last, count)
	if err != nil {
		t.dbErr = err
		return t.say(&Answer{Kind: Unknown, Device: device, Detail: "rows: " + observe.Scrub(err.Error())})
	}
	for _, r := range rows {
		if told[r.Timestamp.UnixMicro()] {
			continue
		}
		err := t.say(&Answer{Kind: Row, Device: device, Fix: new(r.Timestamp.UTC()), Committed: new(r.IngestedAt.UTC())})
		if err != nil {
			return err
		}
	}
	return nil
}

// idSpan is the range of ids that are searched for fix times, and in which order: nothing is published long before its fix,
// and the newest comes last.
func idSpan(want fixes) (from, to stream.ID) {
	if want.newest() {
		return stream.MaxID(), stream.ID{}
	}
	return stream.IDAt(want.first.Add(-time.Minute)), stream.MaxID()
}
