package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"processor/internal/service"
	"processor/internal/stream"
	"processor/internal/trace"
)

type traceCmd struct {
	Redis    service.Redis    `embed:"" group:"Redis:"`
	Database service.Database `embed:"" group:"Database:"`

	Streams []string `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams to search, separated by commas (default: ${default})."`
	Group   string   `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`

	Device deviceIDs     `env:"TRACE_DEVICE" placeholder:"ID" group:"Position:" help:"Positions of these devices; without a time the newest of each."`
	At     instant       `env:"TRACE_AT" placeholder:"TIME" group:"Position:" help:"Only those with a fix time near this one, as in 2025-06-01T12:00:00Z."`
	Within time.Duration `env:"TRACE_WITHIN" default:"30s" range:"0s..24h" placeholder:"DURATION" group:"Position:" help:"How near to --at (default: ${default})."`
	Since  time.Duration `env:"TRACE_SINCE" default:"0s" range:"0s..876000h" placeholder:"DURATION" group:"Position:" help:"Only those with a fix time within this time until now, as in 15m; 0 is no bound (default: ${default})."`
	Scan   int           `env:"TRACE_SCAN" default:"100000" range:"1..10000000" placeholder:"N" help:"Search at most so many entries of each stream, and so many of its dead letters (default: ${default})."`
	JSON   bool          `name:"json" env:"TRACE_JSON" help:"Print one JSON object per line."`

	ID letterID `arg:"" optional:"" name:"entry-id" help:"Id of an entry, on its stream or as a dead letter."`
}

// Help is called by kong.
func (c *traceCmd) Help() string {
	return `Prints one line for each place that has the position: row, pending, unread, dead letter, acknowledged, trimmed; and last how
far it searched. Exit code 1: it is nowhere, or a server could not be asked. It changes nothing.

Examples:
  processor trace --device 356307042441013
  processor trace --device 356307042441013 --at 2025-06-01T10:03:00Z
  processor trace --device 356307042441013 --since 15m --json
  processor trace 1764036553000-0`
}

// Run is called by kong.
func (c *traceCmd) Run(ctx context.Context, out Streams) error {
	if err := c.resolve(); err != nil {
		return err
	}
	client, err := stream.Connect(c.Redis.URL)
	if err != nil {
		return err
	}
	defer client.Close()
	search := trace.Search{Client: client, DatabaseURL: c.Database.URL, Streams: c.Streams, Group: c.Group, Scan: c.Scan,
		Say: func(a *trace.Answer) error { return c.print(out.Out, a) }}
	err = search.Run(ctx, trace.Query{ID: c.ID.ID, Devices: c.Device, At: c.At.Time, Within: c.Within, Since: c.Since})
	return granted(err, c.Redis.URL, traceRights(c.Streams))
}

func (c *traceCmd) print(w io.Writer, a *trace.Answer) error {
	if c.JSON {
		return printJSON(w, a)
	}
	colours := map[string]colour{trace.Row: green, trace.DeadLetter: red, trace.Trimmed: red, trace.NotFound: red, trace.Searched: ""}
	col, known := colours[a.Kind]
	if !known {
		col = yellow
	}
	label := fmt.Sprintf("%-12s", a.KindText())
	if col != "" {
		label = paint(w, col, label)
	}
	_, err := fmt.Fprintf(w, "%s  %s\n", label, printable(a.Text(time.Now())))
	return err
}

func (c *traceCmd) resolve() error {
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
	byID, byDevice := c.ID.ID != (stream.ID{}), len(c.Device) > 0
	switch {
	case byID == byDevice:
		return &service.SettingError{Flag: "device", Env: "TRACE_DEVICE", Err: errors.New("wanted: either a device or the id of an entry")}
	case byID && (!c.At.IsZero() || c.Since > 0):
		return &service.SettingError{Flag: "at", Env: "TRACE_AT", Err: errors.New("an entry id needs no time: neither --at nor --since")}
	case !c.At.IsZero() && c.Since > 0:
		return &service.SettingError{Flag: "since", Env: "TRACE_SINCE", Err: errors.New("set together with --at; one of the two is allowed")}
	}
	return nil
}
