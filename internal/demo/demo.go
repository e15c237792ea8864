// Package demo shows the whole service at work on servers of its own: it starts Redis and PostgreSQL,
// migrates, lets a simulated fleet publish, runs the real worker in this process, shows what happens,
// and at the end compares what was published with what is stored.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/fleet"
	"processor/internal/observe"
	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/service"
	"processor/internal/store"
	"processor/internal/stream"
)

// Options say what to show.
type Options struct {
	// Devices is the number of simulated trackers.
	Devices int
	// Rate is in positions a second over all devices, above 0.
	Rate int
	// For is how long the fleet publishes; 0 is until the context ends.
	For time.Duration
	// Seed fixes the fleet.
	Seed uint64
	// Worker holds the settings of the worker as for `processor run`. Servers, streams, names and the
	// HTTP address are the demo's own whatever it says.
	Worker service.Config
	Build  observe.BuildInfo
	// Out gets the live view where it is a terminal, and a line a second where it is not.
	Out io.Writer

	// redis lets a test name a binary that is not there.
	redis sandbox.RedisOptions
}

const (
	streamName = "telemetry:t"
	groupName  = "processor"
	// reserve is some 60 MB in Redis.
	reserve = 100_000

	// refresh is how often the counters are read and a terminal is redrawn.
	refresh = 250 * time.Millisecond
	// patience is how long the end waits for the next row while some are missing.
	patience = 30 * time.Second
	// shutdownTimeout is short: by then everything is stored, or patience is over.
	shutdownTimeout = 5 * time.Second
)

// Run starts everything, publishes until ctx ends or Options.For is over, waits until all of it is
// stored, stops everything and prints the ledger. It leaves no process and no file behind, however it
// ends.
//
// It fails where the table does not hold exactly what was published, where a server cannot be started,
// and where ctx ends during the start.
func Run(ctx context.Context, o Options) (err error) {
	display := newDisplay(o.Out)
	var s servers
	defer func() { err = errors.Join(err, s.stop(ctx)) }()
	err = s.start(ctx, o.redis, display.say)
	if err == nil {
		err = schema.MigrateUp(ctx, s.databaseURL)
	}
	if err != nil {
		return startError(ctx, err)
	}
	return run(ctx, o, &s, display)
}

// startError leaves out what the end of ctx broke.
func startError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before anything was published: %w", context.Cause(ctx))
	}
	return err
}

// demo is what runs on the servers.
type demo struct {
	options   Options
	display   display
	servers   *servers
	service   *service.Service
	log       *workerLog
	queue     *queue
	publisher *fleet.Publisher
	meter     *meter
}

func run(ctx context.Context, o Options, s *servers, display display) (err error) {
	client, err := stream.Connect(s.redisURL)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	d := &demo{options: o, display: display, servers: s, log: &workerLog{}}
	if err := d.assemble(ctx, client); err != nil {
		return startError(ctx, err)
	}
	err = d.work(ctx)
	if err == nil {
		err = d.settle(context.WithoutCancel(ctx))
	}
	if err != nil {
		d.log.print(o.Out)
	}
	return err
}

// assemble makes the worker and the fleet, and says where they are.
func (d *demo) assemble(ctx context.Context, client redis.UniversalClient) error {
	config := d.options.Worker
	config.Redis = service.Redis{URL: d.servers.redisURL}
	config.Database = service.Database{URL: d.servers.databaseURL}
	config.Streams, config.Group, config.Consumer = []string{streamName}, groupName, "demo"
	config.HTTPAddr = "127.0.0.1:0"
	config.ShutdownTimeout = shutdownTimeout
	if err := config.Resolve(); err != nil {
		return err
	}
	logger := observe.NewLogger(d.log, slog.LevelInfo)
	worker, err := service.New(ctx, config, d.options.Build, logger)
	if err != nil {
		return fmt.Errorf("make the worker: %w", err)
	}
	table, err := tableKind(ctx, worker.Store)
	if err != nil {
		return errors.Join(err, worker.Close())
	}
	d.display.say(fmt.Sprintf("%s, %s, %s", d.servers.redisName, d.servers.postgresName, table))
	d.display.say(fmt.Sprintf("worker on http://%s: /metrics /healthz /readyz", worker.Addr()))

	d.service = worker
	d.queue = &queue{client: client, stream: streamName, group: groupName, reserve: reserve}
	d.publisher = fleet.NewPublisher(client, streamName, 0)
	d.publisher.OnRetry = func(err error, _ time.Duration) { logger.Warn("the fleet waits to publish", "error", err) }
	d.meter = newMeter(d.options, worker, d.publisher, d.log)
	return nil
}

// tableKind says what the migrations made of positions.
func tableKind(ctx context.Context, s *store.Store) (string, error) {
	state, err := s.CheckSchema(ctx)
	if err != nil {
		return "", err
	}
	if state.Hypertable {
		return "hypertable (TimescaleDB " + state.TimescaleVersion + ")", nil
	}
	return "plain table (no TimescaleDB here)", nil
}

// work runs fleet and worker until ctx ends or the time is over, and until everything is stored.
// Both have ended when it returns.
func (d *demo) work(ctx context.Context) error {
	workerCtx, stopWorker := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorker()
	worker := begin(func() error { return d.service.Run(workerCtx) })
	// No deadline: it would cut a command off halfway, where the end of a context lets it finish.
	publishCtx, stopPublishing := context.WithCancel(ctx)
	defer stopPublishing()
	if d.options.For > 0 {
		defer time.AfterFunc(d.options.For, stopPublishing).Stop()
	}
	publisher := begin(func() error { return d.publish(publishCtx) })

	err := d.watch(workerCtx, publisher, worker)
	stopPublishing()
	<-publisher.done
	if err == nil {
		err = d.drain(workerCtx, worker)
	}
	if err == nil {
		err = d.finish()
	}
	stopWorker()
	<-worker.done
	return errors.Join(err, publisher.err, worker.err)
}

// publish returns an error only where the fleet stopped by itself.
func (d *demo) publish(ctx context.Context) error {
	vehicles := fleet.New(fleet.Options{Devices: d.options.Devices, Seed: d.options.Seed, Start: time.Now()})
	err := d.publisher.Run(ctx, vehicles, fleet.Pace{Rate: float64(d.options.Rate)})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

var errWorkerEnded = errors.New("the worker ended by itself")

// watch shows the state until the fleet has stopped publishing.
func (d *demo) watch(ctx context.Context, publisher, worker *task) error {
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		if err := d.show(ctx); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-publisher.done:
			return nil
		case <-worker.done:
			return errWorkerEnded
		}
	}
}

// drain shows the state until everything that was published is stored, or no more rows come.
func (d *demo) drain(ctx context.Context, worker *task) error {
	d.meter.drain()
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	last, since := d.service.Ledger.Snapshot(), time.Now()
	for {
		if err := d.show(ctx); err != nil {
			return err
		}
		if drained, err := d.queue.drained(ctx); err == nil && drained {
			return nil
		}
		if now := d.service.Ledger.Snapshot(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			d.display.say(fmt.Sprintf("nothing was stored for %s: not waiting any longer", patience))
			return nil // the comparison says what is missing
		}
		select {
		case <-ticker.C:
		case <-worker.done:
			return errWorkerEnded
		}
	}
}

// show reads the counters and brings them before the user's eyes.
func (d *demo) show(ctx context.Context) error {
	// Where it fails Redis is in trouble, which the worker reports; the next time trims as well.
	_ = d.queue.trim(ctx, d.service.Ledger.Snapshot().Read)
	s, err := d.meter.read(time.Now())
	if err != nil {
		return err
	}
	d.display.show(s)
	return nil
}

// finish shows what the whole run came to.
func (d *demo) finish() error {
	d.meter.end()
	s, err := d.meter.read(time.Now())
	if err != nil {
		return err
	}
	d.display.finish(s)
	return nil
}

// settle counts the rows and compares, when worker and fleet have stopped.
func (d *demo) settle(ctx context.Context) error {
	ledger := d.service.Ledger.Snapshot()
	d.display.say("ledger: " + ledger.String())
	stored, err := countRows(ctx, d.servers.databaseURL)
	if err != nil {
		return fmt.Errorf("published %d positions, and cannot tell how many are stored: %w", d.publisher.Published(), err)
	}
	result := result{
		published:   d.publisher.Published(),
		unconfirmed: d.publisher.Unconfirmed(),
		stored:      uint64(stored),
		ledger:      ledger,
	}
	if err := result.check(); err != nil {
		return err
	}
	d.display.say(result.String())
	return nil
}

// countRows opens a store of its own: the worker's is closed by now, so nobody writes.
func countRows(ctx context.Context, databaseURL string) (int64, error) {
	s, err := store.Open(ctx, databaseURL, store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.Count(ctx)
}

// task is a goroutine that somebody waits for. Its error may be read once it is done.
type task struct {
	done chan struct{}
	err  error
}

func begin(f func() error) *task {
	t := &task{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = f()
	}()
	return t
}
