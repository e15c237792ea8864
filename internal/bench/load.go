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

// load holds the positions of a drain: as entries on the streams, and as rows in memory for raw COPY.
type load struct {
	streams []string
	rows    copyRows
}

// fixInterval is the time between two fixes of a device.
const fixInterval = time.Second

// fill publishes the positions and encodes their rows.
func fill(ctx context.Context, client redis.UniversalClient, streams []string, opts Options) (*load, error) {
	l := &load{streams: streams}
	vehicles := fleet.New(fleet.Options{Devices: opts.Devices, Seed: 1, Start: fleetStart(opts, time.Now()), Step: fixInterval})
	out := newSharder(client, streams)
	batches := make([]batch, len(streams))
	for left := opts.Positions; left > 0; {
		// In portions, which bounds the memory of records and payloads.
		n := min(left, 500*len(streams))
		left -= n
		for range n {
			record := vehicles.Next(time.Time{})
			shard := out.add(record)
			if err := batches[shard].add(record.Payload); err != nil {
				return nil, err
			}
			if len(batches[shard].positions) == opts.BatchSize {
				batches[shard].moveTo(&l.rows)
			}
		}
		if err := out.publish(ctx); err != nil {
			return nil, err
		}
	}
	for i := range batches {
		batches[i].moveTo(&l.rows)
	}
	return l, nil
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
