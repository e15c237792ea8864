package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"processor/internal/retry"
	"processor/internal/service"
	"processor/internal/status"
	"processor/internal/stream"
	"processor/internal/terminal"
)

type statusCmd struct {
	Redis    service.Redis    `embed:"" group:"Redis:"`
	Database service.Database `embed:"" group:"Database:"`

	Streams []string `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams to show, separated by commas (default: ${default})."`
	Group   string   `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`

	Watch bool `env:"STATUS_WATCH" help:"Show it every 2 s until Ctrl-C."`
	JSON  bool `name:"json" env:"STATUS_JSON" help:"One JSON object a line."`
}

// Help is called by kong.
func (c *statusCmd) Help() string {
	return `Examples:
  processor status --redis-url redis://redis:6379/0 --database-url postgres://processor@db/telemetry
  processor status --watch
  processor status --json | jq -r '.streams[] | [.name, .verdict.level, .verdict.text] | @tsv'

It begins with a verdict on each stream, the worst first: CRITICAL, WARNING, CATCHING UP or OK. Exit code 1: a stream is
CRITICAL, or a server could not be asked. The JSON is described in docs/http.md.`
}

const (
	rateInterval  = time.Second     // between the two samples that a rate is made of
	watchInterval = 2 * time.Second // between two views
	askTimeout    = 10 * time.Second
)

// Errors of status, after what could be asked was shown.
var (
	errIncomplete = errors.New("not every server could be asked")
	errCritical   = errors.New("a stream is in a critical state")
)

// Run is called by kong.
func (c *statusCmd) Run(ctx context.Context, out Streams) error {
	if err := c.Redis.Resolve(); err != nil {
		return err
	}
	if err := c.Database.Resolve(); err != nil {
		return err
	}
	if err := service.CheckStreams(c.Streams...); err != nil {
		return err
	}
	if err := service.CheckGroup(c.Group); err != nil {
		return err
	}
	client, err := stream.Connect(c.Redis.URL)
	if err != nil {
		return err
	}
	defer client.Close()
	wait := rateInterval
	if c.Watch {
		wait = watchInterval
	}
	asking := &status.Observer{Client: client, DatabaseURL: c.Database.URL, Streams: c.Streams, Group: c.Group, Timeout: askTimeout,
		Explain: func(err error) error { return granted(err, c.Redis.URL, statusRights(c.Streams)) }}
	defer asking.Close(ctx)
	before := asking.Look(ctx)
	for {
		now := before
		if before.Err == nil || c.Watch {
			_ = retry.Sleep(ctx, wait) // the end of ctx is seen below
			now = asking.Look(ctx)
		}
		if ctx.Err() != nil && c.Watch {
			return nil // Ctrl-C is how --watch ends
		}
		if ctx.Err() != nil {
			return stopped(ctx)
		}
		view := asking.View(ctx, before, now)
		if err := c.print(out.Out, &view); err != nil {
			return err
		}
		if !c.Watch {
			return viewError(&view)
		}
		before = now
	}
}

// stopped is the error of a command that a signal ends before it has an answer.
func stopped(ctx context.Context) error { return fmt.Errorf("stopped: %w", context.Cause(ctx)) }

func viewError(v *status.View) error {
	switch {
	case !v.Redis.OK || !v.Postgres.OK:
		return errIncomplete
	case v.Verdict == status.Critical:
		return errCritical
	}
	return nil
}

func (c *statusCmd) print(w io.Writer, v *status.View) error {
	if c.JSON {
		return printJSON(w, v)
	}
	// In one write: a view that comes piece by piece flickers.
	var text bytes.Buffer
	if c.Watch {
		fmt.Fprintf(&text, "%s  every %s until Ctrl-C\n", stamp(v.Time), watchInterval)
	}
	width := 0
	if terminal.Is(w) {
		width, _ = terminal.Size(w)
	}
	writeStatus(&text, v, width, func(col colour, s string) string { return paint(w, col, s) })
	view := text.String()
	if c.Watch && terminal.MovesCursor(w) {
		cols, rows := terminal.Size(w)
		view = "\x1b[H\x1b[2J" + fit(view, cols-1, rows-1)
	}
	_, err := io.WriteString(w, view)
	return err
}
