package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"processor/internal/bench"
	"processor/internal/service"
)

// benchCmd has variables of its own for the servers, so that those of a worker never point a
// benchmark at production.
type benchCmd struct {
	RedisURL        string `env:"BENCH_REDIS_URL" placeholder:"URL" group:"Servers:" help:"Redis to use instead of a disposable one."`
	RedisURLFile    string `env:"BENCH_REDIS_URL_FILE" placeholder:"FILE" group:"Servers:" help:"File that holds the Redis URL, instead of --redis-url."`
	DatabaseURL     string `env:"BENCH_DATABASE_URL" placeholder:"URL" group:"Servers:" help:"PostgreSQL to use instead of a disposable one: migrated, and without positions."`
	DatabaseURLFile string `env:"BENCH_DATABASE_URL_FILE" placeholder:"FILE" group:"Servers:" help:"File that holds the database URL, instead of --database-url."`

	Positions int `env:"BENCH_POSITIONS" default:"300000" range:"1..100000000" placeholder:"N" group:"Load:" help:"Positions to drain in a round (default: ${default})."`
	Devices   int `env:"BENCH_DEVICES" default:"10000" range:"1..10000000" placeholder:"N" group:"Load:" help:"Simulated trackers (default: ${default})."`
	Streams   int `env:"BENCH_STREAMS" default:"1" range:"1..100" placeholder:"N" group:"Load:" help:"Streams to spread the positions over, by device (default: ${default})."`
	Workers   int `env:"BENCH_WORKERS" default:"1" range:"1..64" placeholder:"N" group:"Worker:" help:"Worker processes that share the streams; their CPU is added up (default: ${default})."`
	Rounds    int `env:"BENCH_ROUNDS" default:"5" range:"1..1000" placeholder:"N" group:"Load:" help:"How often to measure everything; medians are reported (default: ${default})."`

	Executable string `env:"BENCH_EXECUTABLE" placeholder:"FILE" group:"Worker:" help:"Processor to measure, to compare releases (default: this one)."`

	BatchSize int `env:"BENCH_BATCH_SIZE" default:"2500" range:"1..100000" placeholder:"ENTRIES" group:"Worker:" help:"Most entries in a batch, and rows in a COPY (default: ${default})."`
	Writers   int `env:"BENCH_WRITERS" default:"0" range:"0..64" placeholder:"N" group:"Worker:" help:"Batches that the worker writes at once; 0 is one for each CPU, 2 to 4 (default: ${default})."`

	Replay      bool          `env:"BENCH_REPLAY" group:"Load:" help:"Also drain the same entries once more, with all rows there already."`
	SkipLatency bool          `env:"BENCH_SKIP_LATENCY" group:"Latency:" help:"Measure throughput alone."`
	LatencyRate int           `env:"BENCH_LATENCY_RATE" default:"5000" range:"1..1000000" placeholder:"N" group:"Latency:" help:"Positions a second while XADD to commit is measured (default: ${default})."`
	LatencyFor  time.Duration `env:"BENCH_LATENCY_FOR" default:"10s" range:"1s..1h" placeholder:"DURATION" group:"Latency:" help:"For how long it is measured (default: ${default})."`

	JSON bool `name:"json" env:"BENCH_JSON" help:"Print JSON instead of a table."`
}

// singleEntries is how many entries are added one by one to an idle system.
const singleEntries = 50

// Help is called by kong.
func (c *benchCmd) Help() string {
	return `A target that is missed is shown as such and is no failure. In a database given by URL the benchmark truncates positions again and again, so it must hold none to begin with. CPU is measured of disposable servers only. Linux only.

Every other setting of the worker can be tried by its environment variable.

Examples:
  processor bench
  processor bench --positions 20000 --rounds 1 --skip-latency
  LINGER=10ms processor bench --json`
}

// Run is called by kong.
func (c *benchCmd) Run(ctx context.Context, out Streams) error {
	redis, database, err := c.servers()
	if err != nil {
		return err
	}
	executable, err := c.executable()
	if err != nil {
		return err
	}
	opts := bench.Options{
		RedisURL:      redis.URL,
		DatabaseURL:   database.URL,
		Executable:    executable,
		Positions:     c.Positions,
		Devices:       c.Devices,
		Streams:       c.Streams,
		Workers:       c.Workers,
		BatchSize:     c.BatchSize,
		Writers:       service.Writers(c.Writers),
		Rounds:        c.Rounds,
		Replay:        c.Replay,
		LatencyRate:   c.LatencyRate,
		LatencyFor:    c.LatencyFor,
		SingleEntries: singleEntries,
		Progress:      out.Err,
	}
	if c.SkipLatency {
		opts.LatencyFor = 0
	}
	report, err := bench.Run(ctx, opts)
	if err != nil {
		return err
	}
	if c.JSON {
		return report.WriteJSON(out.Out)
	}
	return report.WriteTable(out.Out)
}

// executable returns the path of the binary whose workers are measured.
func (c *benchCmd) executable() (string, error) {
	if c.Executable == "" {
		own, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the processor's own binary: %w", err)
		}
		return own, nil
	}
	found, err := exec.LookPath(c.Executable)
	if err != nil {
		return "", &service.SettingError{Flag: "executable", Env: "BENCH_EXECUTABLE", Err: err}
	}
	return filepath.Abs(found)
}

// servers checks the URLs that are set.
func (c *benchCmd) servers() (redis service.Redis, database service.Database, err error) {
	redis = service.Redis{URL: c.RedisURL, URLFile: c.RedisURLFile}
	database = service.Database{URL: c.DatabaseURL, URLFile: c.DatabaseURLFile}
	if redis != (service.Redis{}) {
		err = redis.Resolve()
	}
	if err == nil && database != (service.Database{}) {
		err = database.Resolve()
	}
	var setting *service.SettingError
	if errors.As(err, &setting) {
		err = &service.SettingError{Flag: setting.Flag, Env: "BENCH_" + setting.Env, Err: setting.Err}
	}
	return redis, database, err
}
