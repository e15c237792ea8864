package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"processor/internal/deadletter"
	"processor/internal/format"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/stream"
)

// holds reports whether a row was made from one of the positions.
func holds(positions []position.Position, row *Row) bool {
	return slices.ContainsFunc(positions, func(p position.Position) bool {
		return p.DeviceID == row.DeviceID && p.Timestamp.Equal(row.Timestamp)
	})
}

// streams fills in what is about streams, and returns for each one positions that are most likely rows.
func (o *Observer) streams(ctx context.Context, before, now Sample, v *View) ([][]position.Position, error) {
	if now.Err != nil {
		return nil, now.Err
	}
	all := make([][]position.Position, len(o.Streams))
	var decoder position.Decoder
	for i, name := range o.Streams {
		info := now.streams[i]
		s := Stream{Name: name, Exists: info.Exists, Length: info.Length, TrimmedUnread: info.TrimmedUnread, Doubtful: info.Doubtful, Group: groupOf(now.At, info)}
		if before.Err == nil {
			s.rates(before.streams[i], info, now.At.Sub(before.At))
			// A loss shows only while all or nothing of the stream is unread: one look may miss it.
			s.TrimmedUnread = max(s.TrimmedUnread, before.streams[i].TrimmedUnread)
			s.Doubtful = max(s.Doubtful, before.streams[i].Doubtful)
		}
		if err := s.ask(ctx, o.Client, o.Group, now.At, info); err != nil {
			return nil, err
		}
		v.Streams = append(v.Streams, s)
		entries, err := stream.RecentlySettled(ctx, o.Client, name, o.Group, info, settledEntries)
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
func (s *Stream) ask(ctx context.Context, client redis.UniversalClient, group string, at time.Time, info stream.Info) (err error) {
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
func (s *Stream) rates(before, now stream.Info, took time.Duration) {
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
func (s *Stream) figures(group, redis, postgres string) figures {
	f := figures{
		redis: redis, postgres: postgres, group: format.Line(group), exists: s.Exists, length: s.Length,
		added: s.AddedRate, read: s.ReadRate, done: s.DoneRate,
		oldestUnread: inDuration(s.OldestUnread), trim: inDuration(s.Trim), trimAtLeast: s.TrimAtLeast,
		trimmedUnread: s.TrimmedUnread, trimmedPending: s.TrimmedPending, doubtful: s.Doubtful,
	}
	if g := s.Group; g != nil {
		f.hasGroup, f.lag, f.pending, f.consumers = true, g.Lag, g.Pending, len(g.Consumers)
		f.oldestPending = inDuration(g.Oldest)
		for i, c := range g.Consumers {
			if idle := format.Seconds(c.Idle); i == 0 || idle < f.idle {
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
	return new(format.Seconds(*s))
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
			return observe.Scrub(format.Line(err.Error()))
		}
		err = next
	}
	return ""
}

func groupOf(at time.Time, info stream.Info) *Group {
	if info.Group == nil {
		return nil
	}
	g := &Group{Lag: info.Group.Lag, Pending: info.Group.Pending, Consumers: []Consumer{}}
	if oldest := info.Group.OldestPending; oldest != (stream.ID{}) {
		seconds := max(at.Sub(oldest.Time()), 0).Seconds()
		g.Oldest = &seconds
	}
	for _, consumer := range info.Group.Consumers {
		g.Consumers = append(g.Consumers, Consumer{consumer.Name, consumer.Pending, consumer.Idle.Seconds()})
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
func deadLetters(ctx context.Context, client redis.UniversalClient, name string) (DeadLetters, error) {
	total, err := client.XLen(ctx, stream.DeadKey(name)).Result()
	if err != nil {
		return DeadLetters{}, fmt.Errorf("count dead letters of stream %s: %w", name, err)
	}
	newest, err := stream.NewestReasons(ctx, client, name, newestLetters)
	if err != nil {
		return DeadLetters{}, err
	}
	d := DeadLetters{Total: total, Counted: len(newest), ByReason: deadletter.Tally{}}
	for _, reason := range newest {
		d.ByReason[deadletter.ReasonText(reason)]++
	}
	return d, nil
}
