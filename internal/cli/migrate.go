package cli

import (
	"context"
	"fmt"
	"io"

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
	if err := schema.MigrateUp(ctx, c.URL); err != nil {
		return err
	}
	return printMigrations(ctx, c.URL, out.Out)
}

type migrateDownCmd struct {
	service.Database `group:"Database:"`
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
	if err := schema.MigrateDown(ctx, c.URL); err != nil {
		return err
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
		return 0, err
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
