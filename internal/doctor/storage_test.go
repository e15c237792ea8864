package doctor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/inspect"
	"processor/internal/schema"
	"processor/internal/servertest"
)

func TestProbe_SaysWhyARowIsRefused(t *testing.T) {
	cases := map[string]struct{ statement, want string }{
		"a constraint": {"ALTER TABLE positions ADD CONSTRAINT moving CHECK (speed > 0)",
			"failed write: positions refuses a valid row: 23514, constraint "},
		"a full disk": {`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
			CREATE TRIGGER full_disk BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION full_disk()`,
			"Fix: free or add disk space for PostgreSQL"},
		"devices of another table": {"CREATE TABLE devices (id text COLLATE \"C\" PRIMARY KEY); ALTER TABLE positions ADD FOREIGN KEY (device_id) REFERENCES devices (id)",
			"warning write: could not check: the row that was tried has no known device (23503, constraint "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			databaseURL := servertest.Migrated(t)
			before := check(t, databaseURL)
			servertest.Execute(t, databaseURL, c.statement)
			found := changed(before, check(t, databaseURL))
			require.Len(t, found, 1)
			require.Contains(t, found[0], c.want)
			require.Equal(t, []string{"0"}, servertest.Ask(t, databaseURL, "SELECT count(*)::text FROM positions"))
		})
	}
}

func TestPostgres_KnowsMigrationsOfALaterRelease(t *testing.T) {
	databaseURL := servertest.Migrated(t)
	before := check(t, databaseURL)
	servertest.Execute(t, databaseURL, "INSERT INTO processor_schema_migrations VALUES ('29990101000000')")
	require.Equal(t, []string{"warning migrations: the database has migrations that this binary does not know: 29990101000000. " +
		"Fix: deploy the release that brought them, or run processor migrate down with that release"}, changed(before, check(t, databaseURL)))
}

func TestPostgres_AsWorkerWarnsOfTooManyRights(t *testing.T) {
	databaseURL := servertest.Migrated(t)
	role := servertest.Ask(t, databaseURL, "SELECT current_user")[0]
	require.Contains(t, summary(Postgres(t.Context(), databaseURL, Scope{As: Worker})), "warning least rights: role "+role+" is a superuser. Fix: use the role processor of deploy/postgres/roles.sql")
}

func TestPostgres_ChecksTheBackgroundJobs(t *testing.T) {
	databaseURL := servertest.TimescaleDB(t)
	servertest.Execute(t, databaseURL, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	require.NoError(t, schema.MigrateUp(t.Context(), databaseURL))
	servertest.Execute(t, databaseURL,
		"SELECT alter_job(job_id, scheduled => FALSE) FROM timescaledb_information.jobs WHERE hypertable_name = 'positions'",
		"INSERT INTO positions VALUES ('a', now() - interval '30 days', 1, 1, 1, 1, 1, 1, 1, '{}')")
	found := strings.Join(check(t, databaseURL), "\n")
	require.Contains(t, found, "warning background jobs: 1 chunks should be compressed (older than 7 days) and are not")

	servertest.Execute(t, databaseURL, "SELECT compress_chunk(c) FROM show_chunks('positions') AS c")
	found = strings.Join(check(t, databaseURL), "\n")
	require.NotContains(t, found, "should be compressed")
	require.Regexp(t, `warning background jobs: job \d+ \(policy_compression\) is paused. Fix: alter_job\(\d+, scheduled => true\)`, found)
}

func TestJobProblem(t *testing.T) {
	well := inspect.Job{ID: 1000, Name: "policy_compression", Scheduled: true, Status: "Scheduled", LastRun: "Success", Runs: 5, SinceSuccess: time.Hour, After: "7 days"}
	cases := map[string]struct {
		change func(j *inspect.Job)
		want   string
	}{
		"well":      {func(*inspect.Job) {}, ""},
		"never ran": {func(j *inspect.Job) { j.LastRun, j.Runs, j.SinceSuccess = "", 0, -time.Second }, ""},
		"paused":    {func(j *inspect.Job) { j.Scheduled = false }, "job 1000 (policy_compression) is paused"},
		"failed": {func(j *inspect.Job) { j.LastRun, j.Failures = "Failed", 3 },
			"the last run of job 1000 (policy_compression) failed, as did 3 of 5 runs; it last succeeded 1h0m0s ago"},
		"late":        {func(j *inspect.Job) { j.Overdue = 2 * time.Hour }, "job 1000 (policy_compression) should have begun 2h0m0s ago: no background worker runs it"},
		"late, works": {func(j *inspect.Job) { j.Overdue, j.Status = 2*time.Hour, "Running" }, ""},
	}
	for name, c := range cases {
		job := well
		c.change(&job)
		problem, fix := jobProblem(&job)
		require.Equal(t, c.want, problem, name)
		require.Equal(t, problem == "", fix == "", name)
	}
}

func TestSizeProblem(t *testing.T) {
	const gib = 1 << 30
	for want, size := range map[string]inspect.ChunkSize{
		"": {Chunk: 3 * gib, Indexes: gib, SharedBuffers: 2 * gib, Cache: 4 * gib},
		"the indexes of a chunk have 3.0 GiB and shared_buffers is 2.0 GiB: writing becomes slow": {Chunk: 3 * gib, Indexes: 3 * gib, SharedBuffers: 2 * gib, Cache: 4 * gib},
		"a chunk has 5.0 GiB and effective_cache_size says that 4.0 GiB of memory hold pages of tables: writing and reading become slow": {
			Chunk: 5 * gib, Indexes: gib, SharedBuffers: 2 * gib, Cache: 4 * gib},
	} {
		problem, _ := sizeProblem(size)
		require.Equal(t, want, problem)
	}
}

func TestDiskProblem(t *testing.T) {
	for want, disk := range map[string]inspect.Disk{
		"": {Slot: "standby", SlotRetained: 1 << 20},
		"archive_command fails (7 times so far): WAL is kept until the disk is full, and then nothing is stored": {ArchiveFailing: true, ArchiveFailures: 7},
		"replication slot old is not in use and keeps 8.0 GiB of WAL, until the disk is full":                    {Slot: "old", SlotRetained: 8 << 30},
		"the replica of replication slot slow is behind by 8.0 GiB of WAL":                                       {Slot: "slow", SlotActive: true, SlotRetained: 8 << 30},
	} {
		problem, fix := diskProblem(disk)
		require.Equal(t, want, problem)
		require.Equal(t, problem == "", fix == "")
	}
}

func TestMemoryProblem(t *testing.T) {
	const mib = 1 << 20
	for want, m := range map[string][3]int64{
		"ok 10.0 MiB of maxmemory 100.0 MiB":                    {10 * mib, 100 * mib, 1000 * mib},
		"ok 10.0 MiB of the machine's 1000.0 MiB, no maxmemory": {10 * mib, 0, 1000 * mib},
		"warning 80.0 MiB of maxmemory 100.0 MiB are used: then it refuses XADD (OOM), and tcp-ingestion cannot publish": {80 * mib, 100 * mib, 1000 * mib},
		"failed full: 100.0 MiB of maxmemory 100.0 MiB; Redis refuses XADD (OOM), and tcp-ingestion cannot publish":      {100 * mib, 100 * mib, 1000 * mib},
		"warning 700.0 MiB of the machine's 1000.0 MiB are used, and there is no maxmemory: the kernel may kill Redis":   {700 * mib, 0, 1000 * mib},
	} {
		state, detail, fix := memoryProblem(m[0], m[1], m[2])
		require.Equal(t, want, fmt.Sprintf("%s %s", state, detail))
		require.Equal(t, state == OK, fix == "")
	}
}
