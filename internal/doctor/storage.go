package doctor

import (
	"context"
	"fmt"
	"time"

	"processor/internal/inspect"
	"processor/internal/schema"
	"processor/internal/store"
)

// storage checks how positions are kept: chunk size, background jobs, and rights beyond those needed.
func (r *report) storage(ctx context.Context, db *inspect.Inspector, s *schema.State) error {
	size, err := db.ChunkSize(ctx)
	if err != nil {
		return err
	}
	if problem, fix := sizeProblem(size); problem != "" {
		r.warn("chunk size", problem, fix)
	} else if size.Chunk > 0 {
		r.ok("chunk size", "%s with %s of indexes, shared_buffers %s", inBytes(size.Chunk), inBytes(size.Indexes), inBytes(size.SharedBuffers))
	}
	if s.Hypertable && s.TimescaleRestoring == "off" {
		c, err := db.Columnstore(ctx, s.Schema)
		if err != nil {
			return err
		}
		r.columnstore(&c)
	}
	if r.as == Worker {
		return r.leastRights(ctx, db, s.Role)
	}
	return nil
}

// sizeProblem returns what is wrong with the size of a chunk that is written to, and the fix. The key is written at random places
// of its index: where that is not in shared_buffers, each row reads and writes pages of the disk.
func sizeProblem(s inspect.ChunkSize) (problem, fix string) {
	const shorter = "a shorter chunk interval for new chunks (set_chunk_time_interval)"
	switch {
	case s.Indexes > s.SharedBuffers:
		return fmt.Sprintf("the indexes of a chunk have %s and shared_buffers is %s: writing becomes slow", inBytes(s.Indexes), inBytes(s.SharedBuffers)),
			"a larger shared_buffers, or " + shorter
	case s.Chunk > s.Cache:
		return fmt.Sprintf("a chunk has %s and effective_cache_size says that %s of memory hold pages of tables: writing and reading become slow", inBytes(s.Chunk), inBytes(s.Cache)),
			"more memory (then raise effective_cache_size), or " + shorter
	}
	return "", ""
}

// jobLate is how late a job may begin before its scheduler is at fault.
const jobLate = time.Hour

// columnstore reports each job of positions that does not do its work.
func (r *report) columnstore(c *inspect.Columnstore) {
	well := true
	for i := range c.Jobs {
		if problem, fix := jobProblem(&c.Jobs[i]); problem != "" {
			r.warn("background jobs", problem, fix)
			well = false
		}
	}
	policy := c.Policy()
	switch {
	case policy == nil && c.Enabled:
		r.warn("background jobs", "the columnstore is enabled and has no policy: old chunks are not compressed, and need ten times the space",
			"add_columnstore_policy as in the migration positions_columnstore")
	case policy == nil:
		r.warn("background jobs", "no columnstore: old chunks are not compressed, and need ten times the space",
			"none with TimescaleDB's Apache licence; else the migration positions_columnstore")
	case c.OverdueChunks > 0:
		r.warn("background jobs", fmt.Sprintf("%d chunks should be compressed (older than %s) and are not", c.OverdueChunks, policy.After),
			fmt.Sprintf("look for errors of job %d in timescaledb_information.job_errors, then run it with run_job(%d)", policy.ID, policy.ID))
	case well:
		r.ok("background jobs", "columnstore policy after %s, %s", policy.After, lastRun(policy))
	}
}

func lastRun(j *inspect.Job) string {
	if j.SinceSuccess < 0 {
		return "not run yet"
	}
	return "last run " + rounded(j.SinceSuccess) + " ago"
}

// jobProblem returns what is wrong with a background job, and the fix.
func jobProblem(j *inspect.Job) (problem, fix string) {
	name := fmt.Sprintf("job %d (%s)", j.ID, j.Name)
	switch {
	case !j.Scheduled || j.Status == "Paused":
		return name + " is paused", fmt.Sprintf("alter_job(%d, scheduled => true)", j.ID)
	case j.LastRun == "Failed":
		return fmt.Sprintf("the last run of %s failed, as did %d of %d runs; %s", name, j.Failures, j.Runs, succeeded(j)),
			fmt.Sprintf("read timescaledb_information.job_errors for job %d, or PostgreSQL's log", j.ID)
	case j.Status != "Running" && j.Overdue > jobLate:
		return fmt.Sprintf("%s should have begun %s ago: no background worker runs it", name, rounded(j.Overdue)),
			"raise timescaledb.max_background_workers and max_worker_processes, restart PostgreSQL, or call _timescaledb_functions.start_background_workers()"
	}
	return "", ""
}

func succeeded(j *inspect.Job) string {
	if j.SinceSuccess < 0 {
		return "it never succeeded"
	}
	return "it last succeeded " + rounded(j.SinceSuccess) + " ago"
}

// leastRights warns of rights with which a fault of the worker, or somebody who has its password, could do more than store positions.
func (r *report) leastRights(ctx context.Context, db *inspect.Inspector, name string) error {
	role, err := db.Role(ctx)
	if err != nil {
		return err
	}
	const fix = "use the role processor of deploy/postgres/roles.sql"
	switch {
	case role.Superuser:
		r.warn("least rights", "role "+name+" is a superuser", fix)
	case role.Owner:
		r.warn("least rights", "role "+name+" owns positions, so that it may drop it", fix)
	case role.CanDelete, role.CanTruncate:
		r.warn("least rights", "role "+name+" may delete rows of positions", fix)
	default:
		r.ok("least rights", "role %s may not delete rows of positions", name)
	}
	return nil
}

// foreignKeyViolation: the probe's device is unknown to another table.
const foreignKeyViolation = "23503"

// probe writes a row and rolls it back.
func (r *report) probe(ctx context.Context, db *inspect.Inspector) {
	result, err := db.TryRow(ctx, time.Now())
	if err == nil {
		err = inspect.Refusal(result)
	}
	switch {
	case err == nil:
		r.ok("write", "a row could be written (rolled back)")
	case len(result.Rejected) > 0 && result.Rejected[0].SQLState == foreignKeyViolation:
		r.warn("write", "could not check: the row that was tried has no known device ("+err.Error()+")", "none where devices are registered before they send")
	case len(result.Rejected) > 0:
		r.fail("write", "positions refuses a valid row: "+err.Error(), "drop or change the constraint or trigger that refuses it: such positions become dead letters")
	default:
		fix := store.Hint(err)
		if fix == "" {
			fix = "read the message in PostgreSQL's log"
		}
		r.fail("write", "a row cannot be written: "+err.Error(), fix)
	}
}

// maxRetained is how much WAL may be kept for one replica before it is reported.
const maxRetained = 4 << 30

func (r *report) disk(ctx context.Context, db *inspect.Inspector) error {
	d, err := db.Disk(ctx)
	if err != nil {
		return err
	}
	if problem, fix := diskProblem(d); problem != "" {
		r.warn("disk", problem, fix)
		return nil
	}
	r.ok("disk", "database of %s; nothing keeps WAL", inBytes(d.DatabaseSize))
	return nil
}

// diskProblem returns what fills the disk of the server, and the fix.
func diskProblem(d inspect.Disk) (problem, fix string) {
	switch {
	case d.ArchiveFailing:
		return fmt.Sprintf("archive_command fails (%d times so far): WAL is kept until the disk is full, and then nothing is stored", d.ArchiveFailures),
			"read PostgreSQL's log for the error of archive_command"
	case d.Slot != "" && d.SlotRetained > maxRetained && !d.SlotActive:
		return fmt.Sprintf("replication slot %s is not in use and keeps %s of WAL, until the disk is full", d.Slot, inBytes(d.SlotRetained)),
			"start its replica, or drop the slot (pg_drop_replication_slot); a limit is max_slot_wal_keep_size"
	case d.Slot != "" && d.SlotRetained > maxRetained:
		return fmt.Sprintf("the replica of replication slot %s is behind by %s of WAL", d.Slot, inBytes(d.SlotRetained)), "find out why it is slow; a limit is max_slot_wal_keep_size"
	}
	return "", ""
}

// inBytes is a size for a person.
func inBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// rounded is a duration for a person.
func rounded(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
