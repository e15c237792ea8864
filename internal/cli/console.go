package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"processor/internal/console"
	"processor/internal/observe"
	"processor/internal/service"
)

type consoleCmd struct {
	Redis    service.Redis    `embed:"" group:"Redis:"`
	Database service.Database `embed:"" group:"Database:"`

	Streams []string `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams to show, separated by commas (default: ${default})."`
	Group   string   `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`

	Addr  string        `env:"CONSOLE_ADDR" default:"127.0.0.1:8090" placeholder:"HOST:PORT" group:"Access:" help:"Address to listen on; beyond loopback a token is required (default: ${default})."`
	Token service.Token `embed:"" group:"Access:"`
	Host  []string      `env:"CONSOLE_HOST" placeholder:"NAME" group:"Access:" help:"Names under which browsers reach it, beside localhost and IP addresses, separated by commas (default: none)."`

	ShowPositions bool `env:"CONSOLE_SHOW_POSITIONS" group:"Access:" help:"Show payloads and coordinates, and the map."`
	AllowChanges  bool `env:"CONSOLE_ALLOW_CHANGES" group:"Access:" help:"Allow the replay of dead letters from the page."`
}

// Help is called by kong.
func (c *consoleCmd) Help() string {
	return `A page for a browser: verdicts, figures and charts of the pipeline, checks with their fixes, dead letters, the search for a
position, a map. It changes nothing without --allow-changes. It runs until Ctrl-C.

Examples:
  processor console --redis-url redis://redis:6379/0 --database-url postgres://processor@db/telemetry
  processor console --show-positions --allow-changes
  processor console --addr 0.0.0.0:8090 --token-file /run/secrets/console --host console.example.org`
}

// Run is called by kong.
func (c *consoleCmd) Run(ctx context.Context, out Streams) error {
	if err := c.resolve(); err != nil {
		return err
	}
	server, err := console.New(console.Config{
		Addr: c.Addr, RedisURL: c.Redis.URL, DatabaseURL: c.Database.URL, Streams: c.Streams, Group: c.Group,
		Token: c.Token.Value, Hosts: c.Host, ShowPositions: c.ShowPositions, AllowChanges: c.AllowChanges,
		Explain: func(err error) error { return granted(err, c.Redis.URL, c.rights()) },
		Logger:  observe.NewLogger(out.Err, slog.LevelInfo),
	})
	if errors.Is(err, console.ErrNoToken) {
		return &service.SettingError{Flag: "token", Env: "CONSOLE_TOKEN", Err: fmt.Errorf("is not set, and --addr is %s: %w", c.Addr, err)}
	}
	if err != nil {
		return err
	}
	may := []string{"read-only", "positions hidden"}
	if c.AllowChanges {
		may[0] = "changes allowed"
	}
	if c.ShowPositions {
		may[1] = "positions shown"
	}
	fmt.Fprintf(out.Out, "console on %s: %s\n", server.URL(), strings.Join(may, ", "))
	return server.Run(ctx)
}

func (c *consoleCmd) rights() string {
	if c.AllowChanges {
		return replayRights(c.Streams)
	}
	return statusRights(c.Streams)
}

func (c *consoleCmd) resolve() error {
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
	if err := service.CheckAddress("addr", "CONSOLE_ADDR", c.Addr); err != nil {
		return err
	}
	for _, name := range c.Host {
		if name == "" || strings.ContainsAny(name, ":/ \t*") && net.ParseIP(name) == nil {
			return &service.SettingError{Flag: "host", Env: "CONSOLE_HOST", Err: fmt.Errorf("%q is not the name of a host; wanted: console.example.org, without scheme and port", name)}
		}
	}
	return c.Token.Resolve()
}
