// Package bench compares the worker's throughput with raw COPY into the same database, and measures its
// latency, CPU and memory.
//
// A round measures the chosen scenarios one after the other on one machine. The workers are child processes, the same
// binary with `run`, so that CPU and memory are measured for them alone. Rounds are repeated and their medians reported.
//
// [Run] takes [Options] and returns a [Report]. Read bench.go first (rounds), then scenario.go and a file for each
// scenario, in the order of a round: raw.go, drain.go, replay.go, late.go, trickle.go and single.go (both use
// observe.go), storm.go and dump.go (both use beside.go), readings.go. Then load.go and rows.go (the positions), database.go (the
// database), groups.go, worker.go and workers.go (the workers from outside), scrape.go and proc_linux.go (what is
// sampled), figures.go and report.go (the results).
package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"processor/internal/fleet"
)

// Options are the settings of Run.
type Options struct {
	// RedisURL and DatabaseURL name servers to use; empty means a disposable server. The database
	// must have the schema and no positions, and no other process may write to it: positions is
	// truncated repeatedly. CPU is measured for disposable servers only.
	RedisURL, DatabaseURL string
	// Executable is the processor's binary; the worker is started as `Executable run`.
	Executable string

	Positions int // drained in each round
	Devices   int
	Streams   int // streams over which the positions are spread, by device
	Workers   int // processes that share the streams
	BatchSize int // of each worker and of raw COPY
	Writers   int // of each worker
	Rounds    int

	// Scenarios are names of Names, in any order.
	Scenarios []string
	// LatencyRates of the trickle are in entries per second and different, each sustained for LatencyFor.
	LatencyRates []int
	LatencyFor   time.Duration
	// SingleEntries is the number of entries that are added one by one to an idle system.
	SingleEntries int
	// LiveRate is in entries per second, beside a storm or a dump.
	LiveRate int
	// StormDays is the number of a storm's positions, which are a day apart, and DumpPositions that of a dump's.
	StormDays, DumpPositions int

	// Progress receives a line for each step, and the worker's warnings.
	Progress io.Writer
}

// runner holds the state of one run.
type runner struct {
	opts     Options
	log      *log.Logger
	servers  *servers
	database *database
	began    time.Time
	load     *load        // nil until a scenario needs it
	arrears  []string     // streams of late positions; nil until a scenario needs them
	trackers *fleet.Fleet // of live positions; fixes carry the wall clock, so are newer than the load's
	prefix   string       // of all stream names
	streams  []string     // created so far
	rows     int          // expected in the table when the current step has succeeded
}

// Run runs the benchmark. It stops the servers that it started before it returns, also if ctx ends. It
// returns an error if the table holds a different number of rows than were published.
func Run(ctx context.Context, opts Options) (report *Report, err error) {
	if err := measurable(); err != nil {
		return nil, err
	}
	now := time.Now()
	r := &runner{
		opts:     opts,
		began:    now,
		log:      log.New(opts.Progress, "", 0),
		trackers: fleet.New(fleet.Options{Devices: opts.Devices, Seed: 1, Start: now}),
		prefix:   "processor-bench:{" + rand.Text() + "}",
	}
	r.log.Printf("starting servers")
	if r.servers, err = startServers(ctx, opts); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.servers.stop(ctx)) }()
	if r.database, err = newDatabase(r.servers.databaseURL); err != nil {
		return nil, err
	}

	machine, err := describe(ctx, r.servers, r.database)
	if err != nil {
		return nil, err
	}
	if err := r.expectRows(ctx); err != nil {
		return nil, fmt.Errorf("the benchmark needs an empty table: %w", err)
	}
	defer func() { err = errors.Join(err, r.cleanUp(ctx)) }()

	scenarios, skipped, err := r.possible(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range skipped {
		r.log.Printf("%s is not measured: %s", s.Scenario, s.Reason)
	}
	var rounds []measurements
	for number := range opts.Rounds {
		m := make(measurements)
		if err := r.round(ctx, number+1, scenarios, m); err != nil {
			return nil, fmt.Errorf("round %d: %w", number+1, err)
		}
		rounds = append(rounds, m)
	}
	return newReport(machine, opts, skipped, rounds), nil
}

func (r *runner) round(ctx context.Context, number int, scenarios []scenario, m measurements) error {
	for _, s := range scenarios {
		r.log.Printf("round %d of %d: %s", number, r.opts.Rounds, s.name)
		if err := s.run(r, ctx, m); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// empty truncates the table, and runs a checkpoint so that no earlier work is left to the next step.
func (r *runner) empty(ctx context.Context) error {
	// Rows that this run did not write must not be truncated.
	if err := r.expectRows(ctx); err != nil {
		return err
	}
	if err := r.database.truncate(ctx); err != nil {
		return err
	}
	r.rows = 0
	if !r.servers.ownDatabase() {
		return nil
	}
	return r.database.checkpoint(ctx)
}

// expectRows returns an error unless the table holds r.rows rows.
func (r *runner) expectRows(ctx context.Context) error {
	n, err := r.database.count(ctx)
	if err != nil {
		return err
	}
	if n != int64(r.rows) {
		return fmt.Errorf("table positions holds %d rows, expected %d", n, r.rows)
	}
	return nil
}

// newStreams returns names for the streams of a step, and records them for removal.
func (r *runner) newStreams(step string) []string {
	names := make([]string, r.opts.Streams)
	for i := range names {
		names[i] = fmt.Sprintf("%s:%s:%d", r.prefix, step, len(r.streams))
		r.streams = append(r.streams, names[i])
	}
	return names
}

// cleanUp removes the streams and rows of this run from servers that were given.
func (r *runner) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var err error
	if !r.servers.ownRedis() {
		err = remove(ctx, r.servers.redis, r.streams)
	}
	if r.servers.ownDatabase() {
		return err
	}
	n, countErr := r.database.count(ctx)
	switch {
	case countErr != nil:
		return errors.Join(err, countErr)
	case n > int64(r.rows):
		return errors.Join(err, fmt.Errorf("table positions not truncated: it holds %d rows, more than the %d of the benchmark", n, r.rows))
	}
	return errors.Join(err, r.database.truncate(ctx))
}
