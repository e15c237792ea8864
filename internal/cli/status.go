package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/inspect"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/service"
	"processor/internal/stream"
	"processor/internal/terminal"
)

type statusCmd struct {
	Redis    service.Redis    `embed:"" group:"Redis:"`
	Database service.Database `embed:"" group:"Database:"`

	Streams []string `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams to show, separated by commas (default: ${default})."`
	Group   string   `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`

	Watch bool `env:"STATUS_WATCH" help:"Show it anew every 2 s until Ctrl-C."`
	JSON  bool `name:"json" env:"STATUS_JSON" help:"One JSON object a line."`
}

// Help is called by kong.
func (c *statusCmd) Help() string {
	return `Examples:
  processor status --redis-url redis://redis:6379/0 --database-url postgres://processor@db/telemetry
  processor status --watch
  processor status --json | jq '.streams[].group.lag'

Exit code 1 says that a server could not be asked.`
}

const (
	rateInterval  = time.Second     // between the two samples that a rate is made of
	watchInterval = 2 * time.Second // between two views
	askTimeout    = 10 * time.Second
	// newestLetters bounds the dead letters whose reasons are counted.
	newestLetters = 1000
	// settledEntries is how many entries each place of a stream contributes to the search for
	// the newest row.
	settledEntries = 20
)

// errIncomplete: what could be asked has been shown.
var errIncomplete = errors.New("not every server could be asked")

// Run is called by kong.
func (c *statusCmd) Run(ctx context.Context, out Streams) error {
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
	client, err := stream.Connect(c.Redis.URL)
	if err != nil {
		return err
	}
	defer client.Close()
	wait := rateInterval
	if c.Watch {
		wait = watchInterval
	}
	before := c.sample(ctx, client)
	for {
		now := before
		if before.err == nil || c.Watch {
			pause(ctx, wait)
			now = c.sample(ctx, client)
		}
		if ctx.Err() != nil && c.Watch {
			return nil // Ctrl-C is how --watch ends
		}
		if ctx.Err() != nil {
			return stopped(ctx)
		}
		view := c.view(ctx, client, before, now)
		if err := c.print(out.Out, &view); err != nil {
			return err
		}
		if !c.Watch {
			return view.err()
		}
		before = now
	}
}

// stopped is the error of a command that a signal ends before it has an answer.
func stopped(ctx context.Context) error { return fmt.Errorf("stopped: %w", context.Cause(ctx)) }

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// sample is what Redis says of all streams at one moment.
type sample struct {
	at      time.Time
	streams []stream.Info
	err     error
}

func (c *statusCmd) sample(ctx context.Context, client redis.UniversalClient) sample {
	s := sample{at: time.Now()}
	for _, name := range c.Streams {
		info, err := stream.Inspect(ctx, client, name, c.Group)
		if err != nil {
			s.err = err
			return s
		}
		s.streams = append(s.streams, info)
	}
	return s
}

func (v *statusView) err() error {
	if v.Redis.OK && v.Postgres.OK {
		return nil
	}
	return errIncomplete
}

func (c *statusCmd) answer(err error) serverView {
	if err == nil {
		return serverView{OK: true}
	}
	return serverView{Error: observe.Scrub(err.Error())}
}

// view asks for what the samples do not hold.
func (c *statusCmd) view(ctx context.Context, client redis.UniversalClient, before, now sample) statusView {
	v := statusView{Time: now.at.UTC(), Group: c.Group, Streams: []streamView{}}
	settled, err := c.streams(ctx, client, before, now, &v)
	v.Redis = c.answer(err)
	v.Newest, err = c.newest(ctx, settled)
	v.Postgres = c.answer(err)
	return v
}

// streams fills in what is about streams, and returns positions that are most likely rows.
func (c *statusCmd) streams(ctx context.Context, client redis.UniversalClient, before, now sample, v *statusView) ([]position.Position, error) {
	if now.err != nil {
		return nil, now.err
	}
	var settled []position.Position
	var decoder position.Decoder
	for i, name := range c.Streams {
		info := now.streams[i]
		s := streamView{Name: name, Exists: info.Exists, Length: info.Length, Group: groupOf(now.at, info)}
		if before.err == nil {
			s.AddedRate, s.ReadRate = rates(before.streams[i], info, now.at.Sub(before.at))
		}
		var err error
		if s.DeadLetters, err = deadLetters(ctx, client, name); err != nil {
			return nil, err
		}
		v.Streams = append(v.Streams, s)
		entries, err := stream.RecentlySettled(ctx, client, name, c.Group, info, settledEntries)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if p, err := decoder.Decode(e.Payload); err == nil { // the others are dead letters
				settled = append(settled, p)
			}
		}
	}
	return settled, nil
}

func groupOf(at time.Time, info stream.Info) *groupView {
	if info.Group == nil {
		return nil
	}
	g := &groupView{Lag: info.Group.Lag, Pending: info.Group.Pending, Consumers: []consumerView{}}
	if oldest := info.Group.OldestPending; oldest != (stream.ID{}) {
		seconds := max(at.Sub(oldest.Time()), 0).Seconds()
		g.Oldest = &seconds
	}
	for _, consumer := range info.Group.Consumers {
		g.Consumers = append(g.Consumers, consumerView{consumer.Name, consumer.Pending, consumer.Idle.Seconds()})
	}
	return g
}

// rates are entries a second that were added, and that the group was given; nil where a count
// is not known or began anew in between.
func rates(before, now stream.Info, took time.Duration) (added, read *float64) {
	rate := func(from, to *int64) *float64 {
		if from == nil || to == nil || *to < *from || took <= 0 {
			return nil
		}
		r := float64(*to-*from) / took.Seconds()
		return &r
	}
	added = rate(before.Added, now.Added)
	if before.Group != nil && now.Group != nil {
		read = rate(before.Group.Read, now.Group.Read)
	}
	return added, read
}

// deadLetters counts the newest by reason: all of them may be millions.
func deadLetters(ctx context.Context, client redis.UniversalClient, name string) (deadView, error) {
	total, err := client.XLen(ctx, stream.DeadKey(name)).Result()
	if err != nil {
		return deadView{}, fmt.Errorf("count dead letters of stream %s: %w", name, err)
	}
	newest, err := stream.NewestReasons(ctx, client, name, newestLetters)
	if err != nil {
		return deadView{}, err
	}
	d := deadView{Total: total, Counted: len(newest), ByReason: tally{}}
	for _, reason := range newest {
		d.ByReason[orUnknown(reason)]++
	}
	return d, nil
}

func (c *statusCmd) newest(ctx context.Context, settled []position.Position) (*rowView, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	inspector, err := inspect.Connect(ctx, c.Database.URL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = inspector.Close(context.WithoutCancel(ctx)) }()
	row, err := inspector.NewestOf(ctx, settled)
	if err != nil || row == nil {
		return nil, err
	}
	return &rowView{row.DeviceID, row.Timestamp.UTC(), row.IngestedAt.UTC()}, nil
}

func (c *statusCmd) print(w io.Writer, v *statusView) error {
	if c.JSON {
		return printJSON(w, v)
	}
	// In one write: a view that comes piece by piece flickers.
	var text bytes.Buffer
	switch {
	case c.Watch && terminal.MovesCursor(w):
		text.WriteString("\x1b[H\x1b[2J")
	case c.Watch:
		fmt.Fprintln(&text, stamp(v.Time))
	}
	v.write(&text, func(col colour, s string) string { return paint(w, col, s) })
	_, err := w.Write(text.Bytes())
	return err
}
