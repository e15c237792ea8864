package bench

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/fleet"
	"processor/internal/position"
)

// portion is how many positions are published to a stream at once. It bounds the memory of records and payloads.
const portion = 500

// load holds the positions of a drain: as entries on the streams, and as rows in memory for raw COPY.
type load struct {
	streams []string
	rows    copyRows
}

// fixInterval is the time between two fixes of a device.
const fixInterval = time.Second

// loaded returns the positions of the drain. The first call publishes them and keeps their rows.
func (r *runner) loaded(ctx context.Context) (*load, error) {
	if r.load != nil {
		return r.load, nil
	}
	r.log.Printf("publishing %d positions of %d devices to %d streams", r.opts.Positions, r.opts.Devices, r.opts.Streams)
	l := &load{streams: r.newStreams("drain")}
	if err := r.fill(ctx, l, 0); err != nil {
		return nil, err
	}
	r.load = l
	return l, nil
}

// lateStreams returns the streams of late positions. The first call publishes them: each is half an interval later than
// one of the drain's.
func (r *runner) lateStreams(ctx context.Context) ([]string, error) {
	if r.arrears != nil {
		return r.arrears, nil
	}
	r.log.Printf("publishing %d late positions", r.opts.Positions)
	l := &load{streams: r.newStreams("late")}
	if err := r.fill(ctx, l, fixInterval/2); err != nil {
		return nil, err
	}
	r.arrears = l.streams
	return r.arrears, nil
}

// fill publishes positions to the load's streams and encodes their rows. All fixes are later by shift.
func (r *runner) fill(ctx context.Context, l *load, shift time.Duration) error {
	opts := r.opts
	vehicles := fleet.New(fleet.Options{Devices: opts.Devices, Seed: 1, Start: fleetStart(opts, r.began).Add(shift), Step: fixInterval})
	out := newSharder(r.servers.redis, l.streams)
	batches := make([]batch, len(l.streams))
	for left := opts.Positions; left > 0; {
		n := min(left, portion*len(l.streams))
		left -= n
		for range n {
			record := vehicles.Next(time.Time{})
			shard := out.add(record)
			if err := batches[shard].add(record.Payload); err != nil {
				return err
			}
			if len(batches[shard].positions) == opts.BatchSize {
				batches[shard].moveTo(&l.rows)
			}
		}
		if err := out.publish(ctx); err != nil {
			return err
		}
	}
	for i := range batches {
		batches[i].moveTo(&l.rows)
	}
	return nil
}

// fleetStart returns a start time such that all fixes are in the past and, if possible, within one day,
// which is one chunk.
func fleetStart(opts Options, now time.Time) time.Time {
	yesterday := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	span := time.Duration(opts.Positions/opts.Devices+1) * fixInterval
	if latest := now.UTC().Add(-span); latest.Before(yesterday) {
		return latest
	}
	return yesterday
}

// batch collects the positions of one batch of the worker.
type batch struct {
	decoder   position.Decoder
	positions []position.Position
}

func (b *batch) add(payload []byte) error {
	p, err := b.decoder.Decode(payload)
	if err != nil {
		return fmt.Errorf("simulated position: %w", err)
	}
	b.positions = append(b.positions, p)
	return nil
}

func (b *batch) moveTo(rows *copyRows) {
	if len(b.positions) > 0 {
		rows.add(b.positions)
	}
	b.positions = b.positions[:0]
	b.decoder.Reset()
}

// sharder publishes to several streams; all records of a device go to the same stream.
type sharder struct {
	publishers []*fleet.Publisher
	records    [][]fleet.Record // unpublished records of each publisher
}

func newSharder(client redis.UniversalClient, streams []string) *sharder {
	s := &sharder{records: make([][]fleet.Record, len(streams))}
	for _, name := range streams {
		s.publishers = append(s.publishers, fleet.NewPublisher(client, name, 0))
	}
	return s
}

// add keeps the record for the next publish and returns the index of its stream.
func (s *sharder) add(record fleet.Record) int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(record.DeviceID)) // a Hash never returns an error
	shard := int(hash.Sum32() % uint32(len(s.publishers)))
	s.records[shard] = append(s.records[shard], record)
	return shard
}

func (s *sharder) publish(ctx context.Context) error {
	for i, publisher := range s.publishers {
		if err := publisher.Publish(ctx, s.records[i]...); err != nil {
			return err
		}
		s.records[i] = s.records[i][:0]
	}
	return nil
}
