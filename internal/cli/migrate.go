package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"processor/internal/schema"
	"processor/internal/service"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply the migrations that are not applied yet."`
	Down   migrateDownCmd   `cmd:"" help:"Revert the newest migration. Refuses to drop positions while it holds rows."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations; exit 1 if one is not applied."`
}

type migrateUpCmd struct {
	service.Database `group:"Database:"`
	migrateLocks     `group:"Locks:"`
}

// migrateLocks are the settings of waiting for locks.
type migrateLocks struct {
	LockTimeout time.Duration `env:"MIGRATE_LOCK_TIMEOUT" default:"5s" range:"0s..1h" placeholder:"DURATION" help:"Timeout of one wait for a lock on a table: others queue behind it meanwhile; 0 waits without a limit (default: ${default})."`
	LockRetries int           `env:"MIGRATE_LOCK_RETRIES" default:"10" range:"0..1000000" placeholder:"N" help:"Further attempts to lock, each after a pause of --lock-timeout (default: ${default})."`
}

// migrator prints who is in the way as soon as that is known.
func (l migrateLocks) migrator(out Streams) *schema.Migrator {
	return &schema.Migrator{LockTimeout: l.LockTimeout, Retries: l.LockRetries, OnBlocked: func(blockers []schema.Blocker) {
		for _, b := range blockers {
			fmt.Fprintf(out.Err, "processor: waiting for a lock that is held by %s\n", printable(b.String()))
		}
	}}
}

// explainMigrate adds the fix to an error that a person must act on.
func explainMigrate(err error, databaseURL string) error {
	var locked *schema.LockedError
	switch {
	case errors.As(err, &locked) && len(locked.Blockers) > 0 && locked.Blockers[0].PID != 0:
		return fmt.Errorf("%w. Fix: end that session with pg_terminate_backend(%d), or raise --lock-retries", err, locked.Blockers[0].PID)
	case errors.As(err, &locked):
		return fmt.Errorf("%w. Fix: raise --lock-retries, or migrate at a quieter time", err)
	}
	config, parseErr := schema.Config(databaseURL)
	if parseErr != nil {
		return err
	}
	if hint := schema.MigrateHint(err, config.ConnConfig.User); hint != "" {
		return fmt.Errorf("%w. Fix: %s", err, hint)
	}
	return err
}

// Help is called by kong.
func (c *migrateUpCmd) Help() string {
	return `Example:
  processor migrate up --database-url postgres://processor_migrate@db/telemetry

The dbmate CLI does the same: dbmate --env-file dbmate.env migrate`
}

// Run is called by kong.
func (c *migrateUpCmd) Run(ctx context.Context, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	if err := c.migrator(out).Up(ctx, c.URL); err != nil {
		return explainMigrate(err, c.URL)
	}
	return printMigrations(ctx, c.URL, out.Out)
}

type migrateDownCmd struct {
	service.Database `group:"Database:"`
	migrateLocks     `group:"Locks:"`
}

// Help is called by kong.
func (c *migrateDownCmd) Help() string {
	return `Example:
  processor migrate down --database-url postgres://processor_migrate@db/telemetry

The dbmate CLI does the same: dbmate --env-file dbmate.env rollback`
}

// Run is called by kong.
func (c *migrateDownCmd) Run(ctx context.Context, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	if err := c.migrator(out).Down(ctx, c.URL); err != nil {
		return explainMigrate(err, c.URL)
	}
	_, err := listMigrations(ctx, c.URL, out.Out)
	return err
}

type migrateStatusCmd struct {
	service.Database `group:"Database:"`
}

// Help is called by kong.
func (c *migrateStatusCmd) Help() string {
	return `Example, before a release goes out:
  processor migrate status --database-url-file /run/secrets/database || exit 1`
}

// Run is called by kong.
func (c *migrateStatusCmd) Run(ctx context.Context, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	return printMigrations(ctx, c.URL, out.Out)
}

// printMigrations fails where one is not applied: a deploy pipeline can ask by exit code.
func printMigrations(ctx context.Context, url string, w io.Writer) error {
	pending, err := listMigrations(ctx, url, w)
	if err != nil {
		return err
	}
	if pending > 0 {
		return fmt.Errorf("migrations not applied: %d; run processor migrate up", pending)
	}
	return nil
}

// listMigrations prints each migration and counts those that are not applied.
func listMigrations(ctx context.Context, url string, w io.Writer) (pending int, err error) {
	migrations, err := schema.Migrations(ctx, url)
	if err != nil {
		return 0, explainMigrate(err, url)
	}
	for _, m := range migrations {
		mark := "X"
		if !m.Applied {
			mark, pending = " ", pending+1
		}
		fmt.Fprintf(w, "[%s] %s\n", mark, m.Name)
	}
	return pending, nil
}
