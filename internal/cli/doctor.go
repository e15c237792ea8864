package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"processor/internal/doctor"
	"processor/internal/observe"
	"processor/internal/service"
	"processor/internal/stream"
)

type doctorCmd struct {
	Redis    service.Redis    `embed:"" group:"Redis:"`
	Database service.Database `embed:"" group:"Database:"`

	Streams []string `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams to check, separated by commas (default: ${default})."`
	Group   string   `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`

	As   expected `name:"as" env:"DOCTOR_AS" placeholder:"USER" help:"Expect the rights of this user: worker or operator, as in docs/redis-users.md. Checks that the worker may not make are then skipped, and each right that the user needs is checked."`
	JSON bool     `name:"json" env:"DOCTOR_JSON" help:"Print one JSON object per line."`
}

// expected is the user whose rights are expected.
type expected struct{ doctor.User }

func userNames() []string { return []string{string(doctor.Worker), string(doctor.Operator)} }

func parseUser(text string) (expected, error) {
	if !slices.Contains(userNames(), text) {
		return expected{}, errNotAllowed
	}
	return expected{doctor.User(text)}, nil
}

// Help is called by kong.
func (c *doctorCmd) Help() string {
	return `Prints one line per check: ok, warning, failed or skipped, what was found, and the fix. It changes nothing: one row is written and
rolled back, and commands that would change Redis are queued and discarded. Exit code 1: a check failed.

Examples:
  processor doctor --redis-url redis://redis:6379/0 --database-url postgres://processor@db/telemetry
  processor doctor --as worker      # with the worker's URLs
  processor doctor --as operator    # with the operator's, which may check everything
  processor doctor --json | jq 'select(.state == "failed")'`
}

// Run is called by kong.
func (c *doctorCmd) Run(ctx context.Context, out Streams) error {
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
	unasked := doctor.Transport(c.Redis.URL, c.Database.URL)
	findings := append(slices.Clone(unasked), doctor.Redis(ctx, client, c.Streams, c.Group, c.As.User)...)

	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	findings = append(findings, doctor.Postgres(asking, c.Database.URL, doctor.Scope{As: c.As.User})...)
	interrupted := ctx.Err() != nil
	if interrupted {
		findings = unasked // the others would blame the servers
	}

	failed := 0
	for _, f := range findings {
		if f.State == doctor.Failed {
			failed++
		}
		f.Detail = observe.Scrub(f.Detail)
		f.Hint = observe.Scrub(f.Hint)
		if c.JSON {
			err = printJSON(out.Out, f)
		} else {
			err = printFinding(out.Out, f)
		}
		if err != nil {
			return err
		}
	}
	if interrupted {
		return stopped(ctx)
	}
	if failed > 0 {
		return fmt.Errorf("%s failed", plural(failed, "check"))
	}
	return nil
}

func printFinding(w io.Writer, f doctor.Finding) error {
	colours := map[doctor.State]colour{doctor.OK: green, doctor.Warning: yellow, doctor.Failed: red, doctor.Skipped: green}
	line := fmt.Sprintf("%s  %-8s  %s: %s", paint(w, colours[f.State], fmt.Sprintf("%-7s", f.State)), f.Server, printable(f.Check), printable(f.Detail))
	if f.Hint != "" {
		line += ". Fix: " + printable(f.Hint)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
