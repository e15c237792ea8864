package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

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
	Rounds    int `env:"BENCH_ROUNDS" default:"5" range:"1..1000" placeholder:"N" group:"Load:" help:"How often to measure everything; medians are reported (default: ${default})."`
	Streams   int `env:"BENCH_STREAMS" default:"1" range:"1..100" placeholder:"N" group:"Load:" help:"Streams to spread the positions over, by device (default: ${default})."`
	Workers   int `env:"BENCH_WORKERS" default:"1" range:"1..64" placeholder:"N" group:"Worker:" help:"Worker processes that share the streams; their CPU is added up (default: ${default})."`

	Executable string `env:"BENCH_EXECUTABLE" placeholder:"FILE" group:"Worker:" help:"Processor to measure, to compare releases (default: this one)."`

	BatchSize int `env:"BENCH_BATCH_SIZE" default:"2500" range:"1..100000" placeholder:"ENTRIES" group:"Worker:" help:"Maximum entries in a batch, and rows in a COPY (default: ${default})."`
	Writers   int `env:"BENCH_WRITERS" default:"0" range:"0..64" placeholder:"N" group:"Worker:" help:"Batches that the worker writes at once; 0 is one for each CPU, 2 to 4 (default: ${default})."`

	Only        scenarioNames `env:"BENCH_ONLY" placeholder:"NAMES" xor:"scenarios" group:"Scenarios:" help:"Scenarios to measure, separated by commas; see above (default: raw,drain,trickle,single)."`
	All         bool          `env:"BENCH_ALL" xor:"scenarios" group:"Scenarios:" help:"Measure all scenarios."`
	Replay      bool          `env:"BENCH_REPLAY" group:"Scenarios:" help:"Also measure the scenario replay."`
	SkipLatency bool          `env:"BENCH_SKIP_LATENCY" group:"Scenarios:" help:"Leave out trickle and single."`

	LatencyRate   rateList      `env:"BENCH_LATENCY_RATE" default:"5000" range:"1..1000000" placeholder:"N" group:"Scenarios:" help:"Positions a second of the trickle, all streams together; several rates are separated by commas (default: ${default})."`
	LatencyFor    time.Duration `env:"BENCH_LATENCY_FOR" default:"10s" range:"1s..1h" placeholder:"DURATION" group:"Scenarios:" help:"For how long each rate of the trickle is measured (default: ${default})."`
	LiveRate      int           `env:"BENCH_LIVE_RATE" default:"1000" range:"1..1000000" placeholder:"N" group:"Scenarios:" help:"Live positions a second beside a storm or a dump (default: ${default})."`
	StormDays     int           `env:"BENCH_STORM_DAYS" default:"3600" range:"1..3600" placeholder:"N" group:"Scenarios:" help:"Days of the storm, one position each (default: ${default})."`
	DumpPositions int           `env:"BENCH_DUMP_POSITIONS" default:"500000" range:"1..10000000" placeholder:"N" group:"Scenarios:" help:"Old positions of the dump (default: ${default})."`

	JSON bool `name:"json" env:"BENCH_JSON" help:"Print JSON instead of a table."`
}

// singleEntries is how many entries are added one by one to an idle system.
const singleEntries = 50

// Help is called by kong.
func (c *benchCmd) Help() string {
	return `A round measures these scenarios, by default ` + strings.Join(bench.Usual(), ", ") + `:

` + bench.Explain() + `
Storm, dump and readings need a disposable PostgreSQL server. Storm and dump report the delay of the live rows. A scenario that the servers do not allow is named in the report and is no failure.

A target that is missed is shown as such and is no failure. In a database given by URL the benchmark truncates positions again and again, so it must hold none to begin with. CPU is measured of disposable servers only. Linux only.

Every other setting of the worker can be tried by its environment variable.

Examples:
  processor bench
  processor bench --positions 20000 --rounds 1 --skip-latency
  processor bench --only trickle --latency-rate 200,1000,5000,20000 --workers 2 --streams 8
  processor bench --only storm,dump --rounds 1
  LINGER=10ms processor bench --all --json`
}

// scenarioNames are the scenarios to measure.
type scenarioNames []string

func parseScenario(text string) (string, error) {
	if !slices.Contains(bench.Names(), text) {
		return "", errNotAllowed
	}
	return text, nil
}

// scenarios returns the names of the scenarios that the flags choose.
func (c *benchCmd) scenarios() ([]string, error) {
	names := []string(c.Only)
	switch {
	case c.All:
		names = bench.Names()
	case len(names) == 0:
		names = bench.Usual()
	}
	if c.Replay {
		names = append(names, "replay")
	}
	if c.SkipLatency {
		names = slices.DeleteFunc(names, func(name string) bool { return name == "trickle" || name == "single" })
	}
	if len(names) == 0 {
		return nil, &service.SettingError{Flag: "skip-latency", Env: "BENCH_SKIP_LATENCY", Err: errors.New("no scenario is left to measure")}
	}
	return names, nil
}

// rateList are different numbers of positions a second.
type rateList []int

// Decode is called by kong. The tag `range` bounds each rate.
func (r *rateList) Decode(ctx *kong.DecodeContext) error {
	low, high, _ := strings.Cut(ctx.Value.Tag.Get("range"), "..")
	least, lowErr := strconv.Atoi(low)
	most, highErr := strconv.Atoi(high)
	if err := errors.Join(lowErr, highErr); err != nil {
		return err
	}
	parse := func(text string) (int, error) {
		rate, err := strconv.Atoi(text)
		if err == nil && (rate < least || rate > most) {
			err = strconv.ErrRange
		}
		return rate, err
	}
	var read rateList
	err := list("numbers from "+low+" to "+high+", separated by commas", parse)(ctx, reflect.ValueOf(&read).Elem())
	for _, rate := range read {
		if !slices.Contains(*r, rate) { // a flag may be repeated
			*r = append(*r, rate)
		}
	}
	return err
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
	scenarios, err := c.scenarios()
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
		Scenarios:     scenarios,
		LatencyRates:  c.LatencyRate,
		LatencyFor:    c.LatencyFor,
		SingleEntries: singleEntries,
		LiveRate:      c.LiveRate,
		StormDays:     c.StormDays,
		DumpPositions: c.DumpPositions,
		Progress:      out.Err,
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
