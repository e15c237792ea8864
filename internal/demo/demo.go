// Package demo runs the whole service on disposable servers: it starts Redis and PostgreSQL, migrates,
// publishes positions of a simulated fleet, runs the real worker in this process, shows its progress,
// and compares published positions with stored rows at the end.
//
// [Run] is the only entry point. Read demo.go first (start and stop), then work.go (publish, drain,
// compare), servers.go (Redis and PostgreSQL), queue.go (state of the stream), meter.go (counters to
// snapshots), display.go and view.go (snapshots to text), result.go (the final comparison).
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

// Options are the settings of [Run].
type Options struct {
	// Devices is the number of simulated trackers.
	Devices int
	// Rate is in positions per second over all devices, above 0.
	Rate int
	// For is how long the fleet publishes; 0 means until the context ends.
	For time.Duration
	// Seed makes the fleet reproducible.
	Seed uint64
	// Worker holds the settings of the worker, as for `processor run`. The demo overrides servers,
	// streams, group, consumer, HTTP address and shutdown timeout.
	Worker service.Config
	Build  observe.BuildInfo
	// Out receives the live view if it is a terminal, else one line per second.
	Out io.Writer

	// redis lets a test name a binary that does not exist.
	redis sandbox.RedisOptions
}

const (
	streamName = "telemetry:t"
	groupName  = "processor"
	// reserve is in entries: about 60 MB in Redis.
	reserve = 100_000

	// shutdownTimeout is short: when the worker stops, the stream is drained or drainTimeout has passed.
	shutdownTimeout = 5 * time.Second
)

// Run starts the servers, the worker and the fleet, publishes until ctx ends or Options.For has passed,
// waits until all positions are stored, stops everything and prints the ledger. It always stops its
// processes and removes its files.
//
// It returns an error if the table does not hold exactly the published positions, if a server does not
// start, or if ctx ends during the start.
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

// startError replaces errors that the end of ctx caused with the cause of that end.
func startError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before anything was published: %w", context.Cause(ctx))
	}
	return err
}

// demo holds the worker and the fleet that run on the servers.
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
		err = d.compare(context.WithoutCancel(ctx))
	}
	if err != nil {
		d.log.print(o.Out)
	}
	return err
}

// assemble creates the worker, the publisher and the meter, and shows the addresses.
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
	d.publisher.OnRetry = func(err error, _ time.Duration) { logger.Warn("cannot publish; retrying", "error", err) }
	d.meter = newMeter(d.options, worker, d.publisher, d.log)
	return nil
}

// tableKind describes table positions for the display: hypertable or plain table.
func tableKind(ctx context.Context, s *store.Store) (string, error) {
	state, err := s.CheckSchema(ctx)
	if err != nil {
		return "", err
	}
	if state.Hypertable {
		return "hypertable (TimescaleDB " + state.TimescaleVersion + ")", nil
	}
	return "plain table (TimescaleDB not installed)", nil
}
