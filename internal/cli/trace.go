package cli

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/inspect"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/service"
	"processor/internal/stream"
)

type traceCmd struct {
	Redis    service.Redis    `embed:"" group:"Redis:"`
	Database service.Database `embed:"" group:"Database:"`

	Streams []string `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams to search, separated by commas (default: ${default})."`
	Group   string   `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`

	Device deviceIDs     `env:"TRACE_DEVICE" placeholder:"ID" group:"Position:" help:"Positions of these devices; without a time the newest of each."`
	At     instant       `env:"TRACE_AT" placeholder:"TIME" group:"Position:" help:"Only those with a fix time near this one, as in 2025-06-01T12:00:00Z."`
	Within time.Duration `env:"TRACE_WITHIN" default:"30s" range:"0s..24h" placeholder:"DURATION" group:"Position:" help:"How near to --at (default: ${default})."`
	Since  time.Duration `env:"TRACE_SINCE" default:"0s" range:"0s..876000h" placeholder:"DURATION" group:"Position:" help:"Only those with a fix time within this time until now, as in 15m; 0 is no bound (default: ${default})."`
	Scan   int           `env:"TRACE_SCAN" default:"100000" range:"1..10000000" placeholder:"N" help:"Search at most so many entries of each stream, and so many of its dead letters (default: ${default})."`
	JSON   bool          `name:"json" env:"TRACE_JSON" help:"Print one JSON object per line."`

	ID letterID `arg:"" optional:"" name:"entry-id" help:"Id of an entry, on its stream or as a dead letter."`
}

// Help is called by kong.
func (c *traceCmd) Help() string {
	return `Prints one line for each place that has the position: row, pending, unread, dead letter, acknowledged, trimmed; and last how
far it searched. Exit code 1: it is nowhere, or a server could not be asked. It changes nothing.

Examples:
  processor trace --device 356307042441013
  processor trace --device 356307042441013 --at 2025-06-01T10:03:00Z
  processor trace --device 356307042441013 --since 15m --json
  processor trace 1764036553000-0`
}

// errNowhere: the search has been printed.
var errNowhere = errors.New("not found, as far as it was searched")

// maxAnswers bounds the answers of one kind for one device or entry.
const maxAnswers = 100

// Run is called by kong.
func (c *traceCmd) Run(ctx context.Context, out Streams) error {
	if err := c.resolve(); err != nil {
		return err
	}
	client, err := stream.Connect(c.Redis.URL)
	if err != nil {
		return err
	}
	defer client.Close()
	t := &tracer{traceCmd: c, client: client, out: out.Out}
	t.connect(ctx)
	defer t.close(ctx)
	if c.ID.ID != (stream.ID{}) {
		err = t.entry(ctx)
	} else {
		err = t.devices(ctx)
	}
	switch {
	case err != nil:
		return granted(err, c.Redis.URL, traceRights(c.Streams))
	case t.dbErr != nil:
		return errIncomplete
	case t.found == 0:
		return errNowhere
	}
	return nil
}

func (c *traceCmd) resolve() error {
	if err := c.Redis.Resolve(); err != nil {
		return err
	}
	if err := c.Database.Resolve(); err != nil {
		return err
	}
	if err := service.CheckStreams(c.Streams...); err != nil {
		return err
	}
	if err := service.CheckGroup(c.Group); err != nil {
		return err
	}
	byID, byDevice := c.ID.ID != (stream.ID{}), len(c.Device) > 0
	switch {
	case byID == byDevice:
		return &service.SettingError{Flag: "device", Env: "TRACE_DEVICE", Err: errors.New("wanted: either a device or the id of an entry")}
	case byID && (!c.At.IsZero() || c.Since > 0):
		return &service.SettingError{Flag: "at", Env: "TRACE_AT", Err: errors.New("an entry id needs no time: neither --at nor --since")}
	case !c.At.IsZero() && c.Since > 0:
		return &service.SettingError{Flag: "since", Env: "TRACE_SINCE", Err: errors.New("set together with --at; one of the two is allowed")}
	}
	return nil
}

// tracer is one search. It prints answers as it finds them.
type tracer struct {
	*traceCmd
	client   redis.UniversalClient
	database *inspect.Inspector
	dbErr    error // why rows could not be looked for
	decoder  position.Decoder
	out      io.Writer
	found    int
}

func (t *tracer) connect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t.database, t.dbErr = inspect.Connect(ctx, t.Database.URL)
}

func (t *tracer) close(ctx context.Context) {
	if t.database != nil {
		_ = t.database.Close(context.WithoutCancel(ctx))
	}
}

// row returns the row of a position; nil where there is none or rows cannot be looked for.
func (t *tracer) row(ctx context.Context, p *position.Position) *inspect.Row {
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
func (t *tracer) entry(ctx context.Context) error {
	for _, name := range t.Streams {
		before := t.found
		searched := answer{Kind: kindSearched, Stream: name, EntryID: t.ID.String()}
		info, err := stream.Inspect(ctx, t.client, name, t.Group)
		if err != nil {
			return err
		}
		page, err := stream.Page(ctx, t.client, name, t.ID.ID, t.ID.ID)
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
		letters, total, err := t.lettersOf(ctx, name, t.ID.ID)
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
func (t *tracer) place(ctx context.Context, name string, info *stream.Info, e *stream.Entry) error {
	a := answer{Stream: name, EntryID: e.ID.String(), AddedAt: new(e.ID.Time().UTC())}
	p, decodeErr := t.decoder.Decode(e.Payload)
	var row *inspect.Row
	if decodeErr == nil {
		a.Device, a.Fix = p.DeviceID, new(p.Timestamp.UTC())
		row = t.row(ctx, &p)
	}
	pending, err := stream.Pending(ctx, t.client, name, t.Group, e.ID, e.ID, 1)
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
		n, complete, errCount := stream.Position(ctx, t.client, name, behind, e.ID, t.Scan)
		if errCount != nil {
			return errCount
		}
		a.Kind, a.Position, a.PositionComplete = kindUnread, new(int64(n)), complete
		err = t.say(&a)
	case row == nil && (t.dbErr == nil || decodeErr != nil):
		a.Kind = kindAcknowledged
		a.Detail = "without a row"
		if decodeErr != nil {
			a.Detail = decodeErr.Error()
		}
		err = t.say(&a)
	}
	if err == nil && row != nil {
		a.Kind, a.Committed = kindRow, new(row.IngestedAt.UTC())
		err = t.say(&a)
	}
	return err
}

// absent answers for an id that is not on the stream.
func (t *tracer) absent(ctx context.Context, name string, info *stream.Info) error {
	a := answer{Stream: name, EntryID: t.ID.String(), AddedAt: new(t.ID.Time().UTC())}
	pending, err := stream.Pending(ctx, t.client, name, t.Group, t.ID.ID, t.ID.ID, 1)
	switch {
	case err != nil:
		return err
	case len(pending) > 0:
		a.pending(pending[0])
		a.Detail = "trimmed or deleted meanwhile: only its worker can still have it"
	case !info.Exists || t.ID.Compare(info.LastGenerated) > 0:
		return nil
	case info.First != (stream.ID{}) && t.ID.Compare(info.First) > 0:
		return nil // others of its time are there: nobody added it, or somebody deleted it
	case info.Group == nil || t.ID.Compare(info.Group.LastDelivered) > 0:
		a.Kind, a.Detail = kindTrimmed, "the group never had it"
	default:
		a.Kind = kindUnknown
		a.Detail = "before what the group has read, and no longer on the stream: stored, trimmed unread or never added; trace --device finds its row"
	}
	return t.say(&a)
}

// devices answers for each device in turn.
func (t *tracer) devices(ctx context.Context) error {
	for _, device := range t.Device {
		if err := t.device(ctx, device); err != nil {
			return err
		}
	}
	return nil
}

// span is a range of fix times; zero where there is none and the newest position is meant.
type fixes struct{ first, last time.Time }

func (t *tracer) wanted() fixes {
	switch {
	case !t.At.IsZero():
		return fixes{t.At.Add(-t.Within), t.At.Add(t.Within)}
	case t.Since > 0:
		now := time.Now()
		return fixes{now.Add(-t.Since), now}
	}
	return fixes{}
}

func (f fixes) newest() bool { return f == fixes{} }

func (f fixes) hold(at time.Time) bool {
	return f.newest() || !at.Before(f.first) && !at.After(f.last)
}

func (t *tracer) device(ctx context.Context, device string) error {
	want := t.wanted()
	before := t.found
	told := map[int64]bool{} // fix times, in microseconds, of rows that were told with their entry
	var searched []answer
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
func (t *tracer) rows(ctx context.Context, device string, want fixes, told map[int64]bool) error {
	if t.dbErr != nil {
		return t.say(&answer{Kind: kindUnknown, Device: device, Detail: "rows: " + observe.Scrub(t.dbErr.Error())})
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
		return t.say(&answer{Kind: kindUnknown, Device: device, Detail: "rows: " + observe.Scrub(err.Error())})
	}
	for _, r := range rows {
		if told[r.Timestamp.UnixMicro()] {
			continue
		}
		err := t.say(&answer{Kind: kindRow, Device: device, Fix: new(r.Timestamp.UTC()), Committed: new(r.IngestedAt.UTC())})
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
		return stream.ID{Millis: math.MaxUint64, Seq: math.MaxUint64}, stream.ID{}
	}
	return stream.IDAt(want.first.Add(-time.Minute)), stream.MaxID()
}
