package fleet

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Pace is the rate and the number of entries to publish.
type Pace struct {
	// Rate is in entries per second. Zero means as fast as possible.
	Rate float64
	// Count is the number of entries to publish. Zero means until ctx ends.
	Count int64
}

// Run publishes records of the fleet at the given pace. It returns nil when
// Count entries are published. If ctx ends before, the error wraps ctx's. Errors
// of Redis are handled as by Publish. The fleet must not be used by others
// until Run returns.
//
// With a rate, entries are sent every 10 ms. After a stall they are sent at up
// to twice the rate until the average rate is reached again.
func (p *Publisher) Run(ctx context.Context, f *Fleet, pace Pace) error {
	if math.IsNaN(pace.Rate) || pace.Rate < 0 || pace.Rate > math.MaxInt32 {
		return fmt.Errorf("pace: rate %v is not between 0 (no limit) and %d entries per second", pace.Rate, math.MaxInt32)
	}
	if pace.Count < 0 {
		return fmt.Errorf("pace: count %d is below 0 (no limit)", pace.Count)
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

// feed passes records of a fleet to a publisher and reuses their buffers.
type feed struct {
	publisher *Publisher
	fleet     *Fleet
	left      int64 // entries to publish
	records   []Record
	buf       []byte
}

// publish publishes the next n records, or fewer if fewer are left.
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

// take replaces f.records with the next n records of the fleet.
func (f *feed) take(n int64) {
	f.records, f.buf = f.records[:0], f.buf[:0]
	now := time.Now()
	for range n {
		var rec Record
		f.buf, rec = f.fleet.AppendPayload(f.buf, now)
		f.records = append(f.records, rec)
	}
}
