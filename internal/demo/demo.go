// Package demo tells the story of the service on disposable servers: it starts Redis and PostgreSQL, migrates, publishes
// positions of a simulated fleet, and runs the real worker as a child process. Then it plays faults, by time or by key:
// duplicates, bad entries, a killed worker, a stopped PostgreSQL. At the end it compares what was published with
// rows and dead letters.
//
// [Run] is the only entry point. Read demo.go first (start and stop), then story.go (the scenes), director.go (plays
// them) and bad.go; work.go (publish, drain, compare) and result.go (the final comparison); servers.go, worker.go and
// home.go (processes and files); queue.go, scrape.go, rows.go, reading.go and meter.go (the state, as snapshots); display.go and view.go
// (snapshots as text), keyboard.go.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/fleet"
	"processor/internal/sandbox"
	"processor/internal/schema"
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
	// Executable is the processor that the demo runs as its worker, with the settings of this process's environment.
	// Servers, stream, group, consumer, HTTP address and shutdown timeout are the demo's.
	Executable string
	// Command is how a person starts this program in a shell, for the commands that the demo suggests.
	Command string
	// Console, if not nil, makes a console for browsers on the demo's servers. serve runs until its context ends.
	Console func(redisURL, databaseURL string) (url string, serve func(context.Context) error, err error)
	// In is read for keys if it and Out are terminals.
	In io.Reader
	// Out receives the live view if it is a terminal, else one line per second.
	Out io.Writer

	// redis lets a test name a binary that does not exist.
	redis sandbox.RedisOptions
}

// The stream and the group of the demo.
const (
	StreamName = "telemetry:t"
	GroupName  = "processor"
)

const (
	consumerName = "demo"
	// reserve is in entries: about 60 MB in Redis.
	reserve = 100_000
)

// errAborted is the result of a demo that was stopped before it could compare anything.
var errAborted = errors.New("stopped at once: nothing was compared")

// errUnread ends a demo whose output nobody reads.
var errUnread = errors.New("nobody reads the output")

// Run starts the servers, the worker and the fleet, publishes and plays the story until ctx ends or Options.For has
// passed, waits until everything is stored, stops everything and prints the comparison. When abort ends, it kills
// everything at once. Nothing is left in either case: processes, files, settings of the terminal.
//
// It returns an error if rows and dead letters are not exactly what was published, if a server does not start, or if
// ctx ends during the start.
func Run(ctx, abort context.Context, o Options) (err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	keyboard := findKeyboard(o.In)
	display := newDisplay(o.Out, func() { end(errUnread) })
	if !display.live() {
		keyboard = nil
	}
	for _, text := range introduction() {
		display.say(plain, text)
	}
	h, err := keyboard.home()
	if err != nil {
		return err
	}
	s := servers{dir: h.dir}
	defer func() { err = s.leave(abort, err, keyboard, h) }()
	err = s.start(ctx, o.redis, func(text string) { display.say(faint, text) })
	if err == nil {
		err = schema.MigrateUp(ctx, s.databaseURL)
	}
	if err != nil {
		return startError(ctx, err)
	}
	return run(ctx, abort, o, &s, display, keyboard)
}

// leave removes everything and returns the error of the whole run, which had err so far.
func (s *servers) leave(abort context.Context, err error, keyboard *keyboard, h *home) error {
	aborted := abort.Err() != nil
	if aborted && err != nil {
		err = errAborted
	}
	if s.abandoned {
		return errors.Join(err, keyboard.restore()) // the cleaner acts when this process has ended
	}
	stopped := s.stop(abort)
	if aborted {
		stopped = nil // that a server was killed is what was asked for
	}
	return errors.Join(err, keyboard.restore(), stopped, h.remove())
}

func introduction() []string {
	return []string{
		"This demo shows processor at work: a simulated fleet publishes positions to Redis, and the real worker stores each one as a row in PostgreSQL.",
		"Then things go wrong on purpose: duplicates, bad entries, a killed worker, a stopped database. At the end every position must be accounted for, or the exit code is 1.",
		"All servers are temporary and on this machine. (Under go run, the first start compiles for some minutes before this line; later ones take seconds.)",
	}
}

// home makes the demo's directory. k may be nil.
func (k *keyboard) home() (*home, error) {
	if k == nil {
		return newHome(nil, "")
	}
	return newHome(k.tty, k.settings)
}

// startError replaces errors that the end of ctx caused with the cause of that end.
func startError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before anything was published: %w", context.Cause(ctx))
	}
	return err
}

// demo holds everything that runs on the servers.
type demo struct {
	options  Options
	abort    context.Context // ends when everything has to end at once
	display  display
	keyboard *keyboard
	servers  *servers
	client   redis.UniversalClient
	log      *workerLog
	keeper   *keeper
	scraper  *scraper
	queue    *queue
	rows     *rowCounter
	director *director
	fleet    *fleet.Publisher
	meter    *meter
	console  func(context.Context) error // nil: none
	began    time.Time

	mu      sync.Mutex // held for a reading
	last    snapshot
	history history
}

func run(ctx, abort context.Context, o Options, s *servers, display display, keyboard *keyboard) (err error) {
	client, err := stream.Connect(s.redisURL)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	table, err := store.Open(ctx, s.databaseURL, store.Options{})
	if err != nil {
		return startError(ctx, err)
	}
	defer table.Close()
	d := &demo{options: o, abort: abort, display: display, keyboard: keyboard, servers: s, client: client, log: &workerLog{}}
	if err := d.assemble(ctx, table); err != nil {
		return startError(ctx, err)
	}
	defer d.scraper.close()
	err = d.work(ctx)
	if err == nil {
		err = d.compare()
	}
	if err != nil && abort.Err() == nil {
		d.log.print(o.Out)
	}
	return err
}

// assemble prepares the worker, the publishers and the meter, and shows what to try.
func (d *demo) assemble(ctx context.Context, table *store.Store) error {
	state, err := table.CheckSchema(ctx)
	if err != nil {
		return err
	}
	kind := "plain table (TimescaleDB not installed)"
	if state.Hypertable {
		kind = "hypertable (TimescaleDB " + state.TimescaleVersion + ")"
	}
	port, err := sandbox.FreePort()
	if err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	d.display.say(plain, fmt.Sprintf("%s, %s, %s", d.servers.redisName, d.servers.postgresName, kind))
	d.display.say(plain, fmt.Sprintf("worker on http://%s: /metrics /healthz /readyz", addr))
	for _, text := range d.suggestions() {
		d.display.say(plain, text)
	}
	d.keeper = &keeper{command: workerCommand{
		executable: d.options.Executable,
		args: []string{
			"run", "--redis-stream", StreamName, "--redis-group", GroupName, "--redis-consumer", consumerName,
			"--http-addr", addr, "--shutdown-timeout", shutdownTimeout.String(), "--log-level", "info",
		},
		environ: workerEnviron(d.servers.redisURL, d.servers.databaseURL),
		log:     d.log,
	}}
	d.scraper = newScraper(addr)
	d.queue = &queue{client: d.client, stream: StreamName, group: GroupName, reserve: reserve}
	d.rows = &rowCounter{store: table}
	d.fleet = d.newPublisher()
	d.director = newDirector(d)
	d.began = time.Now()
	d.meter = newMeter(d.options, d.began)
	return d.makeConsole()
}

func (d *demo) makeConsole() error {
	if d.options.Console == nil {
		return nil
	}
	url, serve, err := d.options.Console(d.servers.redisURL, d.servers.databaseURL)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	d.console = serve
	d.display.say(plain, "  console in the browser: "+url)
	return nil
}

func (d *demo) newPublisher() *fleet.Publisher {
	p := fleet.NewPublisher(d.client, StreamName, 0)
	p.OnRetry = func(err error, _ time.Duration) { d.log.publisherWarns("cannot publish; retrying", err) }
	return p
}

// suggestions are lines to try in another terminal while the demo runs.
func (d *demo) suggestions() []string {
	return []string{
		"To try in a second terminal:",
		fmt.Sprintf("  export REDIS_URL='%s' DATABASE_URL='%s'", d.servers.redisURL, d.servers.databaseURL),
		`  psql "$DATABASE_URL" -c 'TABLE positions LIMIT 5'`,
		`  redis-cli -u "$REDIS_URL" XINFO GROUPS ` + StreamName,
		"  " + d.options.Command + " status --watch    " + d.options.Command + " dlq list",
	}
}
