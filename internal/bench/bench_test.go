package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/bench"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// tiny returns options of a short benchmark that measures every figure.
func tiny(t *testing.T) bench.Options {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	return bench.Options{
		Executable:    executable,
		Positions:     2000,
		Devices:       100,
		Streams:       2,
		Workers:       1,
		BatchSize:     500,
		Writers:       2,
		Rounds:        1,
		Scenarios:     bench.Names(),
		LatencyRates:  []int{1000, 500},
		LatencyFor:    time.Second,
		SingleEntries: 5,
		LiveRate:      200,
		StormDays:     40,
		DumpPositions: 3000,
		Progress:      t.Output(),
	}
}

// document is the JSON form of a report.
type document struct {
	Machine        map[string]any
	Settings       map[string]any
	RawConnections int `json:"raw_connections"`
	Skipped        []bench.Skipped
	Figures        map[string]struct {
		Unit   string
		Median float64
		Rounds []float64
		Target *struct {
			AtLeast float64 `json:"at_least"`
			AtMost  float64 `json:"at_most"`
		}
		Met *bool
	}
}

func decode(t *testing.T, report *bench.Report) document {
	t.Helper()
	var written bytes.Buffer
	require.NoError(t, report.WriteJSON(&written))
	decoder := json.NewDecoder(&written)
	decoder.DisallowUnknownFields()
	var d document
	require.NoError(t, decoder.Decode(&d))
	return d
}

// serverCPU are the figures that a report on given servers lacks: CPU of servers that the benchmark did
// not start.
var serverCPU = []string{
	"raw_postgres_cpu_us_per_position",
	"postgres_cpu_us_per_position",
	"redis_cpu_us_per_position",
	"replay_postgres_cpu_us_per_position",
	"latency_postgres_cpu_us_per_position",
	"latency_redis_cpu_us_per_position",
	"latency_to_drain_postgres_cpu_ratio",
	"latency_at_500_postgres_cpu_us_per_position",
	"latency_at_500_redis_cpu_us_per_position",
	"latency_at_500_to_drain_postgres_cpu_ratio",
	"latency_at_1000_postgres_cpu_us_per_position",
	"latency_at_1000_redis_cpu_us_per_position",
	"latency_at_1000_to_drain_postgres_cpu_ratio",
}

// allOthers are the remaining figures.
var allOthers = []string{
	"raw_1_connections_positions_per_second",
	"raw_2_connections_positions_per_second",
	"raw_4_connections_positions_per_second",
	"raw_positions_per_second",
	"pipeline_positions_per_second",
	"pipeline_to_raw_ratio",
	"pipeline_drain_seconds",
	"worker_start_seconds",
	"worker_cpu_us_per_position",
	"worker_allocations_per_position",
	"worker_allocated_bytes_per_position",
	"worker_peak_resident_mib",
	"replay_positions_per_second",
	"replay_worker_cpu_us_per_position",
	"latency_entries_per_second",
	"latency_p50_ms",
	"latency_p99_ms",
	"latency_p999_ms",
	"latency_commits_per_second",
	"latency_worker_cpu_us_per_position",
	"latency_at_500_entries_per_second",
	"latency_at_500_p50_ms",
	"latency_at_500_p99_ms",
	"latency_at_500_p999_ms",
	"latency_at_500_commits_per_second",
	"latency_at_500_worker_cpu_us_per_position",
	"latency_at_1000_entries_per_second",
	"latency_at_1000_p50_ms",
	"latency_at_1000_p99_ms",
	"latency_at_1000_p999_ms",
	"latency_at_1000_commits_per_second",
	"latency_at_1000_worker_cpu_us_per_position",
	"single_p50_ms",
	"single_p99_ms",
}

// disposable are the figures that need a disposable PostgreSQL server.
var disposable = []string{
	"storm_seconds",
	"storm_live_p50_ms",
	"storm_live_p99_ms",
	"storm_live_max_ms",
	"dump_positions_per_second",
	"dump_live_p50_ms",
	"dump_live_p99_ms",
	"dump_live_max_ms",
	"positions_table_bytes_per_row",
	"positions_index_bytes_per_row",
	"positions_postgres_cpu_us_per_row",
	"readings_rows_per_second",
	"readings_postgres_cpu_us_per_row",
	"readings_table_bytes_per_row",
	"readings_index_bytes_per_row",
}

// compressed are the figures that need TimescaleDB.
var compressed = []string{
	"late_positions_per_second",
	"late_worker_cpu_us_per_position",
	"late_postgres_cpu_us_per_position",
	"late_replay_positions_per_second",
	"late_replay_worker_cpu_us_per_position",
	"late_replay_postgres_cpu_us_per_position",
}

func names(d document) []string {
	var names []string
	for name := range d.Figures {
		names = append(names, name)
	}
	return names
}

func TestRun_MeasuresEverythingOnItsOwnServers(t *testing.T) {
	opts := tiny(t)
	// CPU time is counted in clock ticks of 10 ms per process: the work must take each server at least one.
	opts.Positions, opts.LatencyFor = 20_000, 2*time.Second
	report, err := bench.Run(t.Context(), opts)
	require.NoError(t, err)

	d := decode(t, report)
	want := slices.Concat(allOthers, serverCPU, disposable)
	if d.Machine["timescaledb"] != "" {
		want = append(want, compressed...)
		require.Empty(t, d.Skipped)
	} else {
		require.Equal(t, []bench.Skipped{{Scenario: "late", Reason: "needs TimescaleDB with its community licence"}}, d.Skipped)
	}
	require.ElementsMatch(t, want, names(d))
	for name, f := range d.Figures {
		require.Len(t, f.Rounds, 1, name)
		require.Equal(t, f.Rounds[0], f.Median, name)
		require.Equal(t, f.Target == nil, f.Met == nil, name)
		if strings.HasSuffix(name, "redis_cpu_us_per_position") {
			require.GreaterOrEqual(t, f.Median, 0.0, "the entries may take Redis less than a clock tick")
			continue
		}
		require.Positive(t, f.Median, name)
	}
	median := func(name string) float64 { return d.Figures[name].Median }
	require.InEpsilon(t, median("pipeline_positions_per_second")/median("raw_positions_per_second"), median("pipeline_to_raw_ratio"), 1e-9)
	require.InEpsilon(t, 20_000, median("pipeline_positions_per_second")*median("pipeline_drain_seconds"), 1e-9)
	require.LessOrEqual(t, median("latency_p50_ms"), median("latency_p99_ms"))
	require.LessOrEqual(t, median("latency_p99_ms"), median("latency_p999_ms"))
	require.LessOrEqual(t, median("single_p50_ms"), median("single_p99_ms"))
	require.LessOrEqual(t, median("latency_entries_per_second"), 1001.0)
	require.LessOrEqual(t, median("latency_at_500_entries_per_second"), 501.0)
	for name, f := range d.Figures {
		if base, is := strings.CutPrefix(name, "latency_at_1000_"); is {
			require.Equal(t, f, d.Figures["latency_"+base], "the first rate has the names without a rate, too")
		}
	}
	requireLines(t, report)
	for _, what := range []string{"storm", "dump"} {
		require.LessOrEqual(t, median(what+"_live_p50_ms"), median(what+"_live_p99_ms"))
		require.LessOrEqual(t, median(what+"_live_p99_ms"), median(what+"_live_max_ms"))
	}
	require.Contains(t, []int{1, 2, 4}, d.RawConnections)

	ratio := d.Figures["pipeline_to_raw_ratio"]
	require.Equal(t, 0.72, ratio.Target.AtLeast)
	require.Equal(t, ratio.Median >= 0.72, *ratio.Met)

	require.Equal(t, map[string]any{
		"positions": 20_000.0, "devices": 100.0, "streams": 2.0, "workers": 1.0, "batch_size": 500.0, "writers": 2.0,
		"rounds": 1.0, "replay": true, "latency_rate": 1000.0, "latency_rates": []any{1000.0, 500.0}, "latency_for_seconds": 2.0, "single_entries": 5.0,
		"scenarios": []any{"raw", "drain", "replay", "late", "trickle", "single", "storm", "dump", "readings"},
		"live_rate": 200.0, "storm_days": 40.0, "dump_positions": 3000.0,
	}, d.Settings)
	require.Equal(t, "on", d.Machine["fsync"])
	require.Equal(t, "on", d.Machine["synchronous_commit"])
	require.Equal(t, map[string]any{"postgresql": true, "redis": true}, d.Machine["disposable"])
	for _, key := range []string{"cores", "cpu", "go", "platform", "postgresql", "redis", "shared_buffers"} {
		require.NotEmpty(t, d.Machine[key], key)
	}
}

// given returns options with the URLs of the package's servers, and a connection to the database.
func given(t *testing.T) (bench.Options, *pgx.Conn) {
	t.Helper()
	opts := tiny(t)
	opts.RedisURL, opts.DatabaseURL = servertest.Redis(t), servertest.Migrated(t)
	opts.Scenarios = []string{"raw", "drain"}
	return opts, servertest.Connect(t, opts.DatabaseURL)
}

func rows(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM positions").Scan(&n))
	return n
}

func benchKeys(t *testing.T, redisURL string) []string {
	t.Helper()
	client, err := stream.Connect(redisURL)
	require.NoError(t, err)
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*processor-bench*").Result()
	require.NoError(t, err)
	return keys
}

func TestRun_LeavesGivenServersAsTheyWere(t *testing.T) {
	opts, conn := given(t)
	opts.Scenarios = append(opts.Scenarios, "storm", "dump")

	report, err := bench.Run(t.Context(), opts)
	require.NoError(t, err)

	d := decode(t, report)
	require.Equal(t, []bench.Skipped{
		{Scenario: "storm", Reason: "needs a disposable PostgreSQL server"}, {Scenario: "dump", Reason: "needs a disposable PostgreSQL server"},
	}, d.Skipped)
	require.Equal(t, map[string]any{"postgresql": false, "redis": false}, d.Machine["disposable"])
	require.ElementsMatch(t, slices.DeleteFunc(slices.Clone(allOthers), func(name string) bool {
		return strings.HasPrefix(name, "replay_") || strings.HasPrefix(name, "latency_") || strings.HasPrefix(name, "single_")
	}), names(d), "no CPU of given servers, and no scenario that was not chosen")
	require.Zero(t, rows(t, conn))
	require.Empty(t, benchKeys(t, opts.RedisURL))
}

const insertPosition = `
	INSERT INTO positions (device_id, ts, latitude, longitude, altitude, angle, speed, satellites, priority, attributes)
	VALUES ('352093081234567', '2026-01-01T00:00:00Z', 54.7, 25.3, 100, 0, 0, 9, 0, '{}')`

func TestRun_RefusesTableThatHoldsPositions(t *testing.T) {
	opts, conn := given(t)
	_, err := conn.Exec(t.Context(), insertPosition)
	require.NoError(t, err)

	_, err = bench.Run(t.Context(), opts)
	require.EqualError(t, err, "the benchmark needs an empty table: table positions holds 1 rows, expected 0")
	require.Equal(t, 1, rows(t, conn))
	require.Empty(t, benchKeys(t, opts.RedisURL))
}

// COPY refuses a table with a trigger, which may swallow rows: there is no raw limit to measure.
func TestRun_FailsWhereATriggerMaySwallowRows(t *testing.T) {
	opts, conn := given(t)
	_, err := conn.Exec(t.Context(), `
		CREATE SEQUENCE arrived;
		CREATE FUNCTION lose_one() RETURNS trigger LANGUAGE plpgsql
			AS $$ BEGIN IF nextval('arrived') = 1000 THEN RETURN NULL; END IF; RETURN NEW; END $$;
		CREATE TRIGGER lossy BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION lose_one()`)
	require.NoError(t, err)

	_, err = bench.Run(t.Context(), opts)
	require.ErrorContains(t, err, "round 1: raw: ")
	require.ErrorContains(t, err, "SQLSTATE 42P01")
	require.Zero(t, rows(t, conn))
	require.Empty(t, benchKeys(t, opts.RedisURL))
}

// cancelAt cancels when the progress reaches a step.
type cancelAt struct {
	step   string
	cancel context.CancelFunc
}

func (c cancelAt) Write(line []byte) (int, error) {
	if strings.Contains(string(line), c.step) {
		c.cancel()
	}
	return len(line), nil
}

func TestRun_EndsWithContext(t *testing.T) {
	for _, step := range []string{"publishing", "raw", "drain", "trickle", "single"} {
		t.Run(step, func(t *testing.T) {
			opts, conn := given(t)
			opts.Scenarios = bench.Usual()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			opts.Progress = cancelAt{step, cancel}

			_, err := bench.Run(ctx, opts)
			require.ErrorIs(t, err, context.Canceled)
			require.Zero(t, rows(t, conn))
			require.Empty(t, benchKeys(t, opts.RedisURL))
		})
	}
}

func TestRun_SaysHowTheWorkerFailed(t *testing.T) {
	opts, _ := given(t)
	opts.Writers = 99 // which --writers refuses

	_, err := bench.Run(t.Context(), opts)
	require.ErrorContains(t, err, "exit status 2")
	require.ErrorContains(t, err, "--writers")
}

// Two workers share the three streams of the drain and of the trickle; their figures are added up.
func TestRun_AddsUpWorkers(t *testing.T) {
	opts := tiny(t)
	opts.Workers, opts.Streams = 2, 3
	opts.Scenarios = []string{"drain", "trickle"}
	report, err := bench.Run(t.Context(), opts)
	require.NoError(t, err)
	d := decode(t, report)
	require.Equal(t, 2.0, d.Settings["workers"])
	require.Positive(t, d.Figures["latency_worker_cpu_us_per_position"].Median)
	require.Positive(t, d.Figures["latency_commits_per_second"].Median)
}

// requireLines checks that the table has the lines of all scenarios in the order of Names, and says what was not measured.
func requireLines(t *testing.T, report *bench.Report) {
	t.Helper()
	var table strings.Builder
	require.NoError(t, report.WriteTable(&table))

	late := "\nlate rows into compressed chunks "
	if decode(t, report).Machine["timescaledb"] == "" {
		require.Contains(t, table.String(), "\nnot measured: late, which needs TimescaleDB with its community licence\n")
		late = "\n"
	}
	at := 0
	for _, line := range []string{
		"\nraw COPY, best of these ", "\npipeline ", "\nreplay, all rows exist ", late, "\ntrickle of 1000/s ",
		"\ntrickle of 500/s ", "\nsingle entry when idle, p99 ", "\nstorm of one device, until stored ", "\ndump of one device ", "\nTSBS readings, COPY ",
	} {
		next := strings.Index(table.String()[at:], line)
		require.GreaterOrEqual(t, next, 0, "%q is missing or out of order in\n%s", line, &table)
		at += next
	}
	require.Equal(t, 5, strings.Count(table.String(), "XADD to commit, p99 ")+strings.Count(table.String(), "live rows, p99 ")+
		strings.Count(table.String(), "idle, p99 "))
}

// The publishers of a storm and of a dump end with the context, too.
func TestRun_EndsWithContextBesideLiveRows(t *testing.T) {
	for _, scenario := range []string{"storm", "dump"} {
		t.Run(scenario, func(t *testing.T) {
			opts := tiny(t)
			opts.Scenarios = []string{scenario}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			opts.Progress = cancelAt{"beside", cancel}

			_, err := bench.Run(ctx, opts)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}
