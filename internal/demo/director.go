package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"processor/internal/fleet"
	"processor/internal/format"
	"processor/internal/stream"
)

const (
	// sceneTimeout is how long a scene waits to see what it expects.
	sceneTimeout = time.Minute
	// publishTimeout is for a scene that publishes when the demo ends.
	publishTimeout = 10 * time.Second
	sceneTick      = 50 * time.Millisecond
)

// director plays the scenes. Scenes of different actions may overlap; those of one action follow one another.
type director struct {
	demo  *demo
	queue [actions]chan request
	// pressed is closed at the first key: the story by time then ends.
	pressed chan struct{}
	once    sync.Once

	kills, outages  atomic.Int64
	duplicates, bad *fleet.Publisher
	badNumber       int // of the next bad entry; used by one goroutine
}

// request asks for a scene. done, if not nil, is closed when it has ended.
type request struct {
	scene scene
	done  chan struct{}
}

func newDirector(d *demo) *director {
	dir := &director{
		demo:       d,
		pressed:    make(chan struct{}),
		duplicates: d.newPublisher(),
		bad:        d.newPublisher(),
	}
	for _, s := range scenes() {
		dir.queue[s.action] = make(chan request, s.queued)
	}
	return dir
}

// run plays what is asked for until ctx ends and the scenes being played have ended. It returns an error if
// PostgreSQL cannot be stopped or started.
func (d *director) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, requests := range d.queue {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case r := <-requests:
					if ctx.Err() != nil {
						return nil
					}
					err := d.play(ctx, r.scene)
					if r.done != nil {
						close(r.done)
					}
					if err != nil {
						return err
					}
				}
			}
		})
	}
	group.Go(func() error {
		d.tell(ctx)
		return nil
	})
	return group.Wait()
}

// press plays the scene of a key. It does not block.
func (d *director) press(key byte) {
	s, is := sceneOf(key)
	if !is {
		return
	}
	d.once.Do(func() { close(d.pressed) })
	select {
	case d.queue[s.action] <- request{scene: s}:
	default:
		d.demo.display.say(plain, fmt.Sprintf("%c  Not now: this scene is being played.", s.key))
	}
}

// tell plays the story by time, one scene after the other, until a key is pressed.
func (d *director) tell(ctx context.Context) {
	limit := d.demo.options.For
	began := d.demo.began
	for _, s := range schedule(limit) {
		select {
		case <-ctx.Done():
			return
		case <-d.pressed:
			return
		case <-time.After(s.at - time.Since(began)):
		}
		if !s.fits(time.Since(began), limit) {
			continue // an earlier scene took longer
		}
		r := request{scene: s, done: make(chan struct{})}
		select {
		case <-ctx.Done():
			return
		case <-d.pressed:
			return
		case d.queue[s.action] <- r:
		}
		select {
		case <-ctx.Done():
			return
		case <-r.done:
		}
	}
	if limit == 0 {
		d.demo.display.say(faint, "That was the story. The flow goes on; Ctrl-C ends it and compares.")
	}
}

func (d *director) play(ctx context.Context, s scene) error {
	say := d.demo.display.say
	say(title, fmt.Sprintf("%c  %s", s.key, s.does))
	say(plain, "   expected: "+s.expect)
	var seen string
	var err error
	switch s.action {
	case duplicate:
		seen, err = d.duplicate(ctx)
	case corrupt:
		seen, err = d.corrupt(ctx)
	case killWorker:
		seen, err = d.kill(ctx)
	case stopPostgres:
		seen, err = d.stopPostgres(ctx)
	}
	if err != nil {
		return err
	}
	say(plain, "   seen: "+seen)
	return nil
}

// publish publishes records to the end, also when ctx has ended, and returns the newest id on the stream then.
func (d *director) publish(publisher *fleet.Publisher, records []fleet.Record) (stream.ID, error) {
	ctx, cancel := context.WithTimeout(d.demo.abort, publishTimeout)
	defer cancel()
	if err := publisher.Publish(ctx, records...); err != nil {
		return stream.ID{}, err
	}
	return d.demo.queue.newest(ctx)
}

// await waits until every entry up to an id is stored or dead-lettered. It reports false if ctx ends first, or after
// sceneTimeout.
func (d *director) await(ctx context.Context, upTo stream.ID) bool {
	return poll(ctx, func() bool {
		done, err := d.demo.queue.done(ctx, upTo)
		return err == nil && done
	})
}

// poll waits until holds reports true. It reports false if ctx ends first, or after sceneTimeout.
func poll(ctx context.Context, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, sceneTimeout)
	defer cancel()
	ticker := time.NewTicker(sceneTick)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

const notYet = "not all of it yet; the last line of the demo tells."

func (d *director) duplicate(ctx context.Context) (string, error) {
	var newest []fleet.Record
	poll(ctx, func() bool { // a slow fleet has not published anything yet
		newest, _ = d.demo.queue.valid(ctx, duplicatesAtOnce)
		return len(newest) > 0
	})
	if len(newest) == 0 {
		return "no position to duplicate.", nil
	}
	records := make([]fleet.Record, duplicatesAtOnce)
	for i := range records {
		records[i] = newest[i%len(newest)]
	}
	before := d.demo.refresh(ctx)
	last, err := d.publish(d.duplicates, records)
	if err != nil {
		return d.unpublished(err), nil
	}
	if !d.await(ctx, last) {
		return notYet, nil
	}
	after := d.demo.refresh(ctx)
	rows := d.demo.compareRows(ctx)
	if after.starts != before.starts || after.pid == 0 {
		return rows + "; the worker was killed, and its own count with it.", nil
	}
	return fmt.Sprintf("unchanged grew by %s; %s.", thousands(after.sum.ledger.Unchanged-before.sum.ledger.Unchanged), rows), nil
}

// unpublished describes the failure to publish, which the final comparison tolerates.
func (d *director) unpublished(err error) string {
	return "not published: " + err.Error()
}

func (d *director) corrupt(ctx context.Context) (string, error) {
	records := badRecords(d.badNumber, time.Now())
	d.badNumber += len(records)
	last, err := d.publish(d.bad, records)
	if err != nil {
		return d.unpublished(err), nil
	}
	if !d.await(ctx, last) {
		return notYet, nil
	}
	found, err := d.demo.queue.letters(ctx)
	if err != nil {
		return notYet, nil
	}
	return fmt.Sprintf("%s in all: %s.", plural(uint64(found.total), "dead letter"), found.reasons()), nil
}

// reasons lists the reasons with their counts.
func (l letters) reasons() string {
	var parts []string
	for reason, n := range l.byReason {
		parts = append(parts, fmt.Sprintf("%s %s", reason, thousands(n)))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func (d *director) kill(ctx context.Context) (string, error) {
	queue := d.demo.queue
	// The moment matters: with nothing pending there is nothing to take again.
	deadline := time.Now().Add(time.Second)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if p, err := queue.progress(ctx); err == nil && p.pending > 0 {
			break
		}
	}
	if !d.demo.keeper.kill() {
		return "no worker is running.", nil
	}
	d.kills.Add(1)
	after, err := queue.progress(ctx)
	if err != nil {
		return notYet, nil
	}
	pending := format.Entries(after.pending)
	killed := time.Now()
	d.demo.display.say(plain, "   "+pending+" pending in Redis for the worker that was killed.")
	if !d.await(ctx, after.delivered) {
		return notYet, nil
	}
	return fmt.Sprintf("%s taken again and acknowledged %s after the kill; %s.", pending, seconds(time.Since(killed)), d.demo.compareRows(ctx)), nil
}

func (d *director) stopPostgres(ctx context.Context) (string, error) {
	postgres := d.demo.servers.postgres
	stopped := time.Now()
	if err := postgres.StopImmediate(d.demo.abort); err != nil {
		return "", err
	}
	d.outages.Add(1)
	failing, most := "", uint64(0)
	end := stopped.Add(outage)
	for ctx.Err() == nil && time.Now().Before(end) {
		s := d.demo.latest()
		most = max(most, s.lag+uint64(s.pending))
		for _, c := range s.checks {
			if !c.OK {
				failing = c.name
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(sceneTick):
		}
	}
	if err := postgres.Restart(d.demo.abort); err != nil {
		return "", err
	}
	back := time.Now()
	newest, err := d.demo.queue.newest(ctx)
	if err != nil || !d.await(ctx, newest) {
		return fmt.Sprintf("PostgreSQL was away for %s; %s", seconds(back.Sub(stopped)), notYet), nil
	}
	check := "no check failed in that time"
	if failing != "" {
		check = "check " + failing + " failed"
	}
	return fmt.Sprintf("%s; up to %s entries waited in Redis; all stored %s after PostgreSQL was back; %s.",
		check, thousands(most), seconds(time.Since(back)), d.demo.compareRows(ctx)), nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
