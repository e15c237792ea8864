// Package status asks Redis and PostgreSQL how the streams are, and judges each of them: OK, catching up, warning or critical.
//
// Read view.go (the answer), status.go (two looks make a view), figures.go (what is asked) and verdict.go (the judgement, pure).
package status

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/inspect"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/stream"
)

const (
	// newestLetters bounds the dead letters whose reasons are counted.
	newestLetters = 1000
	// settledEntries is how many entries each place of a stream contributes to the search for the newest row.
	settledEntries = 20
	// trimmedLimit bounds the pending entries that are counted as trimmed.
	trimmedLimit = 10_000
)

// Observer asks about streams, their group and the newest row. It keeps one connection to PostgreSQL. Not safe for
// concurrent use.
type Observer struct {
	Client      redis.UniversalClient
	DatabaseURL string
	Streams     []string
	Group       string
	// Timeout bounds what PostgreSQL is asked for one view.
	Timeout time.Duration
	// Explain, where not nil, adds the fix to an error of Redis.
	Explain func(error) error

	database *inspect.Inspector
}

// Sample is what Redis says of all streams at one moment. Its error is Err.
type Sample struct {
	At  time.Time
	Err error

	streams []stream.Info
}

// Look takes a sample.
func (o *Observer) Look(ctx context.Context) Sample {
	s := Sample{At: time.Now()}
	for _, name := range o.Streams {
		info, err := stream.Inspect(ctx, o.Client, name, o.Group)
		if err != nil {
			s.Err = err
			return s
		}
		s.streams = append(s.streams, info)
	}
	return s
}

// View asks for what the samples do not hold, and judges. Rates are those between the samples; where before has an error, or
// is the same sample, there are none. The streams come in the order of their verdicts, the worst first.
func (o *Observer) View(ctx context.Context, before, now Sample) View {
	v := View{Time: now.At.UTC(), Group: o.Group, Streams: []Stream{}}
	settled, redisErr := o.streams(ctx, before, now, &v)
	if redisErr != nil && o.Explain != nil {
		redisErr = o.Explain(redisErr)
	}
	v.Redis = server(redisErr)
	newest, postgresErr := o.newest(ctx, slices.Concat(settled...))
	v.Newest = newest
	v.Postgres = server(postgresErr)
	for i, name := range o.Streams {
		if i == len(v.Streams) {
			v.Streams = append(v.Streams, Stream{Name: name})
		}
		s := &v.Streams[i]
		f := s.figures(o.Group, cause(redisErr), cause(postgresErr))
		if newest != nil && i < len(settled) && holds(settled[i], newest) {
			f.newestCommit = new(max(v.Time.Sub(newest.IngestedAt), 0))
		}
		s.Verdict = judge(f)
		v.Verdict = max(v.Verdict, s.Verdict.Level)
	}
	worstFirst(v.Streams)
	return v
}

// Rows estimates the rows of positions outside the columnstore; nil where PostgreSQL did not answer the last View.
func (o *Observer) Rows(ctx context.Context) *int64 {
	if o.database == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	rows, err := o.database.EstimateRows(ctx)
	if err != nil {
		return nil
	}
	return &rows
}

// Close closes the connection to PostgreSQL.
func (o *Observer) Close(ctx context.Context) {
	if o.database != nil {
		_ = o.database.Close(context.WithoutCancel(ctx))
		o.database = nil
	}
}

func server(err error) Server {
	if err == nil {
		return Server{OK: true}
	}
	return Server{Error: observe.Scrub(err.Error())}
}

// newest asks for the row that was written last. A connection that broke since it was used is replaced.
func (o *Observer) newest(ctx context.Context, settled []position.Position) (*Row, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	kept := o.database != nil
	row, err := o.newestOnce(ctx, settled)
	if err != nil {
		o.Close(ctx)
		if kept && ctx.Err() == nil {
			row, err = o.newestOnce(ctx, settled)
		}
	}
	if err != nil || row == nil {
		return nil, err
	}
	return &Row{row.DeviceID, row.Timestamp.UTC(), row.IngestedAt.UTC()}, nil
}

// errNotAllowed: a text names no level.
var errNotAllowed = errors.New("not a level")

func (o *Observer) newestOnce(ctx context.Context, settled []position.Position) (*inspect.Row, error) {
	if o.database == nil {
		database, err := inspect.Connect(ctx, o.DatabaseURL)
		if err != nil {
			return nil, err
		}
		o.database = database
	}
	if len(settled) == 0 { // then NewestOf asks nothing, and would not find out that the server is gone
		_, err := o.database.Now(ctx)
		return nil, err
	}
	return o.database.NewestOf(ctx, settled)
}
