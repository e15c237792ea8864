package bench

import (
	"bytes"
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"processor/internal/fleet"
)

// disturber is the device whose positions arrive beside the live ones.
const disturber = "processor-bench"

// besideWarmUp is how long live positions are published before the disturbance.
const besideWarmUp = time.Second

// delays are the figures of live positions beside a disturbance. P50, p99 and longest are in milliseconds from XADD to
// the start of the commit.
type delays struct {
	seconds           float64 // from the first XADD of the disturbance to the last XACK of it
	live              int64   // live positions that were published meanwhile
	p50, p99, longest float64
}

// disturbance is a number of positions of one device, at even steps that end before now.
type disturbance struct {
	positions int
	step      time.Duration
}

// fleet returns the disturbance's fleet of one device. Its last fix is at the end of the step before now.
func (d disturbance) fleet(now time.Time) *fleet.Fleet {
	start := now.UTC().Truncate(d.step).Add(-time.Duration(d.positions) * d.step)
	return fleet.New(fleet.Options{Devices: 1, Seed: 2, Start: start, Step: d.step})
}

// beside publishes live positions at a steady rate, and the disturbance as fast as Redis takes it, until all of the
// disturbance is acknowledged. It returns the delays of the live positions that were published meanwhile.
func (r *runner) beside(ctx context.Context, name string, d disturbance) (result delays, err error) {
	if err := r.empty(ctx); err != nil {
		return result, err
	}
	streams := r.newStreams(name)
	g := groups{r.servers.redis, streams}
	if err := g.createStreams(ctx); err != nil {
		return result, err
	}
	ws, err := r.startWorkers(ctx, streams)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, ws.stop(ctx)) }()

	rate, live := float64(r.opts.LiveRate), newSharder(r.servers.redis, streams)
	warmUp := int(rate * besideWarmUp.Seconds())
	r.rows += warmUp
	if _, err := r.publish(ctx, live, rate, warmUp); err != nil {
		return result, err
	}
	if err := g.wait(ctx, ws, nil); err != nil {
		return result, err
	}

	r.log.Printf("  %d positions of one device, beside %d live positions/s", d.positions, r.opts.LiveRate)
	began, published := time.Now(), 0
	var ended time.Time
	over := make(chan struct{})
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		published, err = r.publishUntil(groupCtx, live, rate, func(int) bool { return closed(over) })
		return err
	})
	group.Go(func() error {
		defer close(over)
		if err := publishDisturbance(groupCtx, newSharder(r.servers.redis, streams), d); err != nil {
			return err
		}
		err := g.wait(groupCtx, ws, func(pending int64) { r.log.Printf("  entries pending: %d", pending) })
		ended = time.Now()
		return err
	})
	if err := group.Wait(); err != nil {
		return result, err
	}
	r.rows += published + d.positions
	if err := g.wait(ctx, ws, nil); err != nil {
		return result, err
	}
	if err := r.expectRows(ctx); err != nil {
		return result, err
	}
	row, err := r.database.liveDelays(ctx, began, ended, disturber)
	if err != nil {
		return result, err
	}
	return delays{seconds: ended.Sub(began).Seconds(), live: row.Entries, p50: row.P50, p99: row.P99, longest: row.Longest}, nil
}

// publishDisturbance publishes the positions of the disturbance as fast as Redis takes them.
func publishDisturbance(ctx context.Context, out *sharder, d disturbance) error {
	old := d.fleet(time.Now())
	for left := d.positions; left > 0; {
		n := min(left, portion)
		left -= n
		for range n {
			out.add(renamed(old.Next(time.Time{}), disturber))
		}
		if err := out.publish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// renamed returns the record as one of another device.
func renamed(record fleet.Record, device string) fleet.Record {
	record.Payload = bytes.Replace(record.Payload, []byte(record.DeviceID), []byte(device), 1)
	record.DeviceID = device
	return record
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
