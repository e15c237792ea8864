package fleet

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Pace says how fast and how much to publish.
type Pace struct {
	// Rate is in entries per second. Zero is as fast as Redis takes them.
	Rate float64
	// Count is how many entries to publish. Zero goes on until ctx ends.
	Count int64
}

// Run publishes the next records of the fleet at the pace. It returns nil once
// Count entries are published, else an error; where ctx ended it, the error
// wraps ctx's. It meets errors of Redis as Publish does. Nobody else may use
// the fleet meanwhile.
//
// Paced entries go in small batches, every 10 ms. After a stall they go at up
// to twice the rate until the delay is made up for.
func (p *Publisher) Run(ctx context.Context, f *Fleet, pace Pace) error {
	if math.IsNaN(pace.Rate) || pace.Rate < 0 || pace.Rate > math.MaxInt32 {
		return fmt.Errorf("pace: rate %v is not a number of entries per second: give 0 (no limit) to %d", pace.Rate, math.MaxInt32)
	}
	if pace.Count < 0 {
		return fmt.Errorf("pace: count %d is below 0: give 0 (no end) or more", pace.Count)
	}
	source := feed{publisher: p, fleet: f, left: pace.Count}
	if pace.Count == 0 {
		source.left = math.MaxInt64
	}

	if pace.Rate == 0 {
		for source.left > 0 {
			if err := source.publish(ctx, pipelineSize); err != nil {
				return err
			}
		}
		return nil
	}

	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	schedule := newPacer(pace.Rate, time.Now())
	for {
		if err := source.publish(ctx, schedule.due(time.Now())); err != nil {
			return err
		}
		if source.left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("publish to stream %q: %w", p.stream, ctx.Err())
		case <-ticker.C:
		}
	}
}

// feed hands a fleet's records to a publisher through buffers that it reuses.
type feed struct {
	publisher *Publisher
	fleet     *Fleet
	left      int64 // entries to publish
	records   []Record
	buf       []byte
}

// publish publishes the next n records, or those that are left.
func (f *feed) publish(ctx context.Context, n int64) error {
	for n = min(n, f.left); n > 0; {
		f.take(min(n, pipelineSize))
		if err := f.publisher.Publish(ctx, f.records...); err != nil {
			return err
		}
		n -= int64(len(f.records))
		f.left -= int64(len(f.records))
	}
	return nil
}

// take replaces f.records with the next n of the fleet.
func (f *feed) take(n int64) {
	f.records, f.buf = f.records[:0], f.buf[:0]
	now := time.Now()
	for range n {
		var rec Record
		f.buf, rec = f.fleet.AppendPayload(f.buf, now)
		f.records = append(f.records, rec)
	}
}
