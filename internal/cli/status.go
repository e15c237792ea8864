package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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

	Watch bool `env:"STATUS_WATCH" help:"Show it every 2 s until Ctrl-C."`
	JSON  bool `name:"json" env:"STATUS_JSON" help:"One JSON object a line."`
}

// Help is called by kong.
func (c *statusCmd) Help() string {
	return `Examples:
  processor status --redis-url redis://redis:6379/0 --database-url postgres://processor@db/telemetry
  processor status --watch
  processor status --json | jq -r '.streams[] | [.name, .verdict.level, .verdict.text] | @tsv'

It begins with a verdict on each stream, the worst first: CRITICAL, WARNING, CATCHING UP or OK. Exit code 1: a stream is
CRITICAL, or a server could not be asked. The JSON is described in docs/operations.md.`
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

// trimmedLimit bounds the pending entries that are counted as trimmed.
const trimmedLimit = 10_000

// Errors of status, after what could be asked was shown.
var (
	errIncomplete = errors.New("not every server could be asked")
	errCritical   = errors.New("a stream is in a critical state")
)

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
	switch {
	case !v.Redis.OK || !v.Postgres.OK:
		return errIncomplete
	case v.Verdict == levelCritical:
		return errCritical
	}
	return nil
}

func (c *statusCmd) answer(err error) serverView {
	if err == nil {
		return serverView{OK: true}
	}
	return serverView{Error: observe.Scrub(err.Error())}
}

// view asks for what the samples do not hold, and judges.
func (c *statusCmd) view(ctx context.Context, client redis.UniversalClient, before, now sample) statusView {
	v := statusView{Time: now.at.UTC(), Group: c.Group, Streams: []streamView{}}
	settled, redisErr := c.streams(ctx, client, before, now, &v)
	redisErr = granted(redisErr, c.Redis.URL, statusRights(c.Streams))
	v.Redis = c.answer(redisErr)
	newest, postgresErr := c.newest(ctx, slices.Concat(settled...))
	v.Newest = newest
	v.Postgres = c.answer(postgresErr)
	for i, name := range c.Streams {
		if i == len(v.Streams) {
			v.Streams = append(v.Streams, streamView{Name: name})
		}
		s := &v.Streams[i]
		f := s.figures(c.Group, cause(redisErr), cause(postgresErr))
		if newest != nil && i < len(settled) && holds(settled[i], newest) {
			f.newestCommit = new(max(v.Time.Sub(newest.IngestedAt), 0))
		}
		s.Verdict = judge(f)
		v.Verdict = max(v.Verdict, s.Verdict.Level)
	}
	worstFirst(v.Streams)
	return v
}

// holds reports whether a row was made from one of the positions.
func holds(positions []position.Position, row *rowView) bool {
	return slices.ContainsFunc(positions, func(p position.Position) bool {
		return p.DeviceID == row.DeviceID && p.Timestamp.Equal(row.Timestamp)
	})
}

// streams fills in what is about streams, and returns for each one positions that are most likely rows.
func (c *statusCmd) streams(ctx context.Context, client redis.UniversalClient, before, now sample, v *statusView) ([][]position.Position, error) {
	if now.err != nil {
		return nil, now.err
	}
	all := make([][]position.Position, len(c.Streams))
	var decoder position.Decoder
	for i, name := range c.Streams {
		info := now.streams[i]
		s := streamView{Name: name, Exists: info.Exists, Length: info.Length, TrimmedUnread: info.TrimmedUnread, Doubtful: info.Doubtful, Group: groupOf(now.at, info)}
		if before.err == nil {
			s.rates(before.streams[i], info, now.at.Sub(before.at))
			// A loss shows only while all or nothing of the stream is unread: one look may miss it.
			s.TrimmedUnread = max(s.TrimmedUnread, before.streams[i].TrimmedUnread)
			s.Doubtful = max(s.Doubtful, before.streams[i].Doubtful)
		}
		if err := s.ask(ctx, client, c.Group, now.at, info); err != nil {
			return nil, err
		}
		v.Streams = append(v.Streams, s)
		entries, err := stream.RecentlySettled(ctx, client, name, c.Group, info, settledEntries)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if p, err := decoder.Decode(e.Payload); err == nil { // the others are dead letters
				all[i] = append(all[i], p)
			}
		}
	}
	return all, nil
}

// ask fills in what is not part of a sample.
func (s *streamView) ask(ctx context.Context, client redis.UniversalClient, group string, at time.Time, info stream.Info) (err error) {
	if s.DeadLetters, err = deadLetters(ctx, client, s.Name); err != nil || info.Group == nil {
		return err
	}
	if info.Group.Lag == nil || *info.Group.Lag > 0 {
		first, err := stream.FirstAfter(ctx, client, s.Name, info.Group.LastDelivered)
		if err != nil {
			return err
		}
		if first != (stream.ID{}) {
			s.OldestUnread = new(max(at.Sub(first.Time()), 0).Seconds())
		}
	}
	oldest := info.Group.OldestPending
	switch {
	case info.Group.Pending == 0:
	case info.First == (stream.ID{}):
		s.TrimmedPending = info.Group.Pending
	case oldest.Compare(info.First) < 0:
		n, err := stream.CountTrimmedPending(ctx, client, s.Name, group, info.First, trimmedLimit)
		if err != nil {
			return err
		}
		s.TrimmedPending = int64(n)
	}
	return nil
}

// rates fills in what two looks show together.
func (s *streamView) rates(before, now stream.Info, took time.Duration) {
	s.AddedRate, s.ReadRate, s.DoneRate = rates(before, now, took)
	if before.Added == nil || now.Added == nil || now.Group == nil {
		return
	}
	reach, atLeast := forecastTrim(now.Length, now.Group.Lag, *before.Added-before.Length, *now.Added-now.Length, s.AddedRate, s.ReadRate)
	if reach != nil {
		s.Trim, s.TrimAtLeast = new(reach.Seconds()), atLeast
	}
	pace := stream.Pace{Added: s.AddedRate, Read: s.ReadRate}
	if left := pace.CatchUp(now.Group.Lag); left != nil {
		s.CatchUp = new(left.Seconds())
	}
}

// figures are those of the verdict, but the newest commit.
func (s *streamView) figures(group, redis, postgres string) figures {
	f := figures{
		redis: redis, postgres: postgres, group: printable(group), exists: s.Exists, length: s.Length,
		added: s.AddedRate, read: s.ReadRate, done: s.DoneRate,
		oldestUnread: inDuration(s.OldestUnread), trim: inDuration(s.Trim), trimAtLeast: s.TrimAtLeast,
		trimmedUnread: s.TrimmedUnread, trimmedPending: s.TrimmedPending, doubtful: s.Doubtful,
	}
	if g := s.Group; g != nil {
		f.hasGroup, f.lag, f.pending, f.consumers = true, g.Lag, g.Pending, len(g.Consumers)
		f.oldestPending = inDuration(g.Oldest)
		for i, c := range g.Consumers {
			if idle := inSeconds(c.Idle); i == 0 || idle < f.idle {
				f.idle = idle
			}
		}
	}
	return f
}

func inDuration(s *float64) *time.Duration {
	if s == nil {
		return nil
	}
	return new(inSeconds(*s))
}

// cause is the innermost error, without addresses and what was tried: "connection refused".
func cause(err error) string {
	for err != nil {
		next := errors.Unwrap(err)
		if several, is := err.(interface{ Unwrap() []error }); is {
			all := several.Unwrap()
			next = all[len(all)-1]
		}
		var answer *pgconn.PgError
		if next == nil || (errors.As(err, &answer) && !errors.As(next, &answer)) {
			return observe.Scrub(printable(err.Error()))
		}
		err = next
	}
	return ""
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

// rates are entries a second that were added, that the group was given, and that it acknowledged; nil where a count
// is not known or began anew in between. A worker that counts a loss corrects the group's count of reads by it.
func rates(before, now stream.Info, took time.Duration) (added, read, done *float64) {
	p := stream.PaceOf(before.Counts(), now.Counts(), took)
	return p.Added, p.Read, p.Done
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
	if c.Watch {
		fmt.Fprintf(&text, "%s  every %s until Ctrl-C\n", stamp(v.Time), watchInterval)
	}
	width := 0
	if terminal.Is(w) {
		width, _ = terminal.Size(w)
	}
	v.write(&text, width, func(col colour, s string) string { return paint(w, col, s) })
	view := text.String()
	if c.Watch && terminal.MovesCursor(w) {
		cols, rows := terminal.Size(w)
		view = "\x1b[H\x1b[2J" + fit(view, cols-1, rows-1)
	}
	_, err := io.WriteString(w, view)
	return err
}
