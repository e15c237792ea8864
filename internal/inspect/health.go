package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"processor/db"
	"processor/internal/format"
	"processor/internal/position"
	"processor/internal/schema"
	"processor/internal/store"
	"processor/sql"
)

// ChunkSize is how large a chunk that is written to becomes, against the server's memory, in bytes.
type ChunkSize struct {
	Chunk, Indexes       int64
	SharedBuffers, Cache int64 // Cache is effective_cache_size
}

// ChunkSize asks for the largest of the chunks that were created last; zero where there is none.
func (i *Inspector) ChunkSize(ctx context.Context) (ChunkSize, error) {
	row, err := i.queries.InspectNewestChunks(ctx)
	if err != nil {
		return ChunkSize{}, fmt.Errorf("ask for the size of the newest chunks: %w", err)
	}
	return ChunkSize(row), nil
}

// Job is a background job of TimescaleDB for positions.
type Job struct {
	ID        int32
	Name      string // policy_compression, for instance
	Scheduled bool
	Every     time.Duration
	After     string    // the age at which the columnstore policy compresses a chunk; empty for other jobs
	DueBefore time.Time // chunks that end before it should be compressed
	LastRun   string    // Success, Failed, or empty where it never ran
	Status    string    // Scheduled, Running, Paused
	Runs      int64
	Failures  int64
	// SinceSuccess is negative where it never succeeded, and Overdue not above 0 where the next run is yet to come.
	SinceSuccess, Overdue time.Duration
}

// Columnstore is what compresses old chunks.
type Columnstore struct {
	Enabled bool
	Jobs    []Job
	// OverdueChunks counts those that the policy should have compressed; 0 where there is no policy.
	OverdueChunks int64
}

// Policy returns the columnstore policy; nil where there is none.
func (c *Columnstore) Policy() *Job {
	for i := range c.Jobs {
		if c.Jobs[i].After != "" {
			return &c.Jobs[i]
		}
	}
	return nil
}

// Columnstore asks TimescaleDB, which the database must have, about its background jobs for positions in a schema.
func (i *Inspector) Columnstore(ctx context.Context, schemaName string) (c Columnstore, err error) {
	if c.Enabled, err = i.queries.InspectColumnstore(ctx, schemaName); err != nil {
		return c, fmt.Errorf("ask for the columnstore: %w", err)
	}
	rows, err := i.queries.InspectJobs(ctx, schemaName)
	if err != nil {
		return c, fmt.Errorf("ask for the background jobs: %w", err)
	}
	for _, r := range rows {
		c.Jobs = append(c.Jobs, Job{
			ID: r.ID, Name: r.Name, Scheduled: r.Scheduled, Every: format.Seconds(r.Every), After: r.After, DueBefore: r.DueBefore,
			LastRun: r.LastRun, Status: r.Status, Runs: r.Runs, Failures: r.Failures,
			SinceSuccess: format.Seconds(r.SinceSuccess), Overdue: format.Seconds(r.Overdue),
		})
	}
	if p := c.Policy(); p != nil {
		c.OverdueChunks, err = i.queries.InspectOverdueChunks(ctx, db.InspectOverdueChunksParams{SchemaName: schemaName, Before: p.DueBefore})
		if err != nil {
			return c, fmt.Errorf("ask for chunks that are not compressed: %w", err)
		}
	}
	return c, nil
}

// Disk is what fills the disk of a server.
type Disk struct {
	Slot            string // the replication slot that keeps the most WAL; empty where none is
	SlotActive      bool
	SlotRetained    int64 // bytes
	ArchiveFailing  bool  // the last attempt of archive_command failed
	ArchiveFailures int64
	DatabaseSize    int64 // bytes
}

// Disk asks for what fills the disk. PostgreSQL does not say how much of it is free.
func (i *Inspector) Disk(ctx context.Context) (Disk, error) {
	row, err := i.queries.InspectDisk(ctx)
	if err != nil {
		return Disk{}, fmt.Errorf("ask for the WAL that is kept: %w", err)
	}
	return Disk(row), nil
}

// Role is what the session's role may do beyond storing positions.
type Role struct{ Superuser, Owner, CanDelete, CanTruncate bool }

// Role asks for the rights of the session's role.
func (i *Inspector) Role(ctx context.Context) (Role, error) {
	row, err := i.queries.InspectRole(ctx)
	if err != nil {
		return Role{}, fmt.Errorf("ask for the rights of the role: %w", err)
	}
	return Role(row), nil
}

// probeDevice is the device of the row that TryRow writes into an empty table.
const probeDevice = "processor-doctor"

// TryRow writes one row for the present moment, as the worker does, and rolls it back. The device is that of a row, where there is
// one. See Try.
func (i *Inspector) TryRow(ctx context.Context, now time.Time) (store.Result, error) {
	device := probeDevice
	found, err := i.queries.InspectAnyDevice(ctx)
	if err != nil {
		return store.Result{}, fmt.Errorf("look for a device: %w", err)
	}
	if len(found) > 0 {
		device = found[0]
	}
	return i.Try(ctx, &position.Position{DeviceID: device, Timestamp: now, Attributes: []byte("{}")})
}

// MigrationState compares sql/migrations with what the database has.
type MigrationState struct {
	Missing []string // files that are not applied
	Newer   []string // versions that are applied, and that this binary does not have
}

// Migrations compares. The error is of class Schema where the role may not read dbmate's table (42501).
func (i *Inspector) Migrations(ctx context.Context) (m MigrationState, err error) {
	applied, err := i.queries.AppliedMigrations(ctx)
	if err != nil && store.SQLState(err) != "42P01" { // nothing was ever migrated
		return m, fmt.Errorf("read %s: %w", schema.MigrationsTable, err)
	}
	files, err := fs.Glob(sql.Migrations, "migrations/*.sql")
	if err != nil {
		return m, fmt.Errorf("list the migrations: %w", err)
	}
	var known []string
	for _, file := range files {
		name := strings.TrimPrefix(file, "migrations/")
		version, _, _ := strings.Cut(name, "_")
		known = append(known, version)
		if !slices.Contains(applied, version) {
			m.Missing = append(m.Missing, name)
		}
	}
	for _, version := range applied {
		if !slices.Contains(known, version) {
			m.Newer = append(m.Newer, version)
		}
	}
	return m, nil
}

// Refusal says why a row that was tried would not be stored; nil where it would.
func Refusal(r store.Result) error {
	switch {
	case len(r.Rejected) > 0:
		rejected := r.Rejected[0]
		text := rejected.SQLState
		if rejected.Constraint != "" {
			text += ", constraint " + rejected.Constraint
		}
		return errors.New(text)
	case len(r.Parked) > 0:
		return r.Parked[0].Err
	}
	return nil
}
