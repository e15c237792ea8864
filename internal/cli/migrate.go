package cli

import (
	"context"
	"fmt"
	"io"

	"processor/internal/service"
	"processor/internal/store"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply what the database lacks."`
	Down   migrateDownCmd   `cmd:"" help:"Take the newest migration back. Refuses to drop positions while it holds rows."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations; exit 1 where one is not applied."`
}

type migrateUpCmd struct {
	service.Database `group:"Database:"`
}

// Run is called by kong.
func (c *migrateUpCmd) Run(ctx context.Context, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	if err := store.MigrateUp(ctx, c.URL); err != nil {
		return err
	}
	return printMigrations(c.URL, out.Out)
}

type migrateDownCmd struct {
	service.Database `group:"Database:"`
}

// Run is called by kong.
func (c *migrateDownCmd) Run(ctx context.Context, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	if err := store.MigrateDown(ctx, c.URL); err != nil {
		return err
	}
	_, err := listMigrations(c.URL, out.Out)
	return err
}

type migrateStatusCmd struct {
	service.Database `group:"Database:"`
}

// Run is called by kong.
func (c *migrateStatusCmd) Run(out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	return printMigrations(c.URL, out.Out)
}

// printMigrations fails where one is not applied: a deploy pipeline can ask by exit code.
func printMigrations(url string, w io.Writer) error {
	pending, err := listMigrations(url, w)
	if err != nil {
		return err
	}
	if pending > 0 {
		return fmt.Errorf("migrations not applied: %d; run processor migrate up", pending)
	}
	return nil
}

// listMigrations prints each migration and counts those that are not applied.
func listMigrations(url string, w io.Writer) (pending int, err error) {
	migrations, err := store.Migrations(url)
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
