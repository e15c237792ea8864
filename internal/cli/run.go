package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"processor/internal/observe"
	"processor/internal/service"
	"processor/internal/store"
	"processor/internal/stream"
)

type runCmd struct {
	service.Config
}

// Run is called by kong.
func (c *runCmd) Run(ctx context.Context, build observe.BuildInfo, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	logger, err := newLogger(out.Err, c.LogLevel)
	if err != nil {
		return err
	}
	stream.LogTo(logger)
	s, err := service.New(ctx, c.Config, build, logger)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func newLogger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, &service.SettingError{Flag: "log-level", Env: "LOG_LEVEL", Err: err}
	}
	return observe.NewLogger(w, l), nil
}

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

type versionCmd struct{}

// Run is called by kong.
func (c *versionCmd) Run(build observe.BuildInfo, out Streams) error {
	_, err := fmt.Fprintf(out.Out, "processor %s (revision %s, %s)\n", build.Version, build.Commit, build.GoVersion)
	return err
}
