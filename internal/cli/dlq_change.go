package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"processor/internal/deadletter"
	"processor/internal/inspect"
	"processor/internal/service"
)

// chosen are the arguments of the commands that change the queue.
type chosen struct {
	queues
	letterFilter
	IDs   []letterID `arg:"" optional:"" name:"id" help:"Ids of dead letters, as dlq list shows them (default: all that the filters choose)."`
	Limit int        `env:"DLQ_LIMIT" default:"0" range:"0..1000000000" placeholder:"N" group:"Dead letters:" help:"At most so many, the oldest first; 0 is no bound (default: ${default})."`
	Yes   bool       `env:"DLQ_YES" help:"Do it without asking."`
}

// AfterApply is called by kong.
func (c *chosen) AfterApply() error {
	slices.SortFunc(c.IDs, func(a, b letterID) int { return a.Compare(b.ID) })
	c.IDs = slices.Compact(c.IDs)
	return nil
}

// agree asks, unless --yes has answered or there is nothing to ask about.
func (c *chosen) agree(ctx context.Context, out Streams, all []queue, question string) error {
	if c.Yes {
		return nil
	}
	counts := tally{}
	err := walk(ctx, all, c.Limit, func(_ queue, page []deadletter.Letter) error {
		counts.add(page)
		return nil
	})
	if err != nil || counts.total() == 0 {
		return err
	}
	return confirm(ctx, os.Stdin, out.Err, fmt.Sprintf(question, plural(counts.total(), "dead letter"), counts))
}

// change asks, and does it to the chosen letters. do returns how many it did.
func (c *chosen) change(ctx context.Context, out Streams, question, done string, do func(queue, []deadletter.Letter) (int, error)) error {
	all, client, err := c.open(ctx, c.letterFilter, c.IDs...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := c.agree(ctx, out, all, question); err != nil {
		return err
	}
	total := 0
	err = walk(ctx, all, c.Limit, func(q queue, page []deadletter.Letter) error {
		n, err := do(q, page)
		total += n
		return err
	})
	fmt.Fprintf(out.Out, "%s %s\n", plural(total, "dead letter"), done)
	if err != nil {
		return err
	}
	return errors.Join(c.leftOut(out, all), c.missed(total+leftOut(all)))
}

// leftOut reports the letters that Filter.Whole left out, as an error where they were named.
func (c *chosen) leftOut(out Streams, all []queue) error {
	n := leftOut(all)
	if n == 0 {
		return nil
	}
	const why = "only the beginning of the entry is kept. The entry is on its stream, as dlq_source_id, until it is trimmed"
	if len(c.IDs) > 0 {
		return fmt.Errorf("%s (%s) cannot be replayed: %s", plural(n, "dead letter"), deadletter.TooLarge, why)
	}
	fmt.Fprintf(out.Out, "%s left in the queue (%s): %s\n", plural(n, "dead letter"), deadletter.TooLarge, why)
	return nil
}

func leftOut(all []queue) int {
	n := 0
	for _, q := range all {
		n += q.chosen.LeftOut()
	}
	return n
}

// missed is an error where ids were named that no letter has, or that the filters do not choose.
func (c *chosen) missed(done int) error {
	if missed := len(c.IDs) - done; missed > 0 && c.Limit == 0 {
		return fmt.Errorf("%d of the %d ids named no dead letter that the filters choose", missed, len(c.IDs))
	}
	return nil
}

type dlqReplayCmd struct {
	chosen
	Database  service.Database `embed:"" group:"Dry run:"`
	MaxAge    time.Duration    `env:"MAX_AGE" default:"87600h" range:"0s..2000000h" placeholder:"DURATION" group:"Dry run:" help:"The worker's --max-age (default: ${default}, ten years)."`
	MaxFuture time.Duration    `env:"MAX_FUTURE" default:"24h" range:"0s..2000000h" placeholder:"DURATION" group:"Dry run:" help:"The worker's --max-future (default: ${default})."`
	DryRun    bool             `env:"DLQ_DRY_RUN" group:"Dry run:" help:"Change nothing; say for each whether it would now pass. With a database URL the row is tried in a transaction that is rolled back."`
}

// Help is called by kong.
func (c *dlqReplayCmd) Help() string {
	return filterHelp(`  processor dlq replay --dry-run --database-url postgres://processor@db/telemetry
  processor dlq replay --reason rejected_by_database --newer 24h
  processor dlq replay --yes 1764036553000-0 1764036553001-0`)
}

// Run is called by kong.
func (c *dlqReplayCmd) Run(ctx context.Context, out Streams) error {
	if c.DryRun {
		return c.dryRun(ctx, out)
	}
	c.Whole = true
	return c.change(ctx, out, "Replay %s (%s)?", "replayed", func(q queue, page []deadletter.Letter) (int, error) {
		return q.Replay(ctx, page)
	})
}

// dryRun tells of each chosen letter whether it would pass.
func (c *dlqReplayCmd) dryRun(ctx context.Context, out Streams) error {
	trial := deadletter.Trial{Window: deadletter.Window{MaxAge: c.MaxAge, MaxFuture: c.MaxFuture}}
	hasDatabase := c.Database != (service.Database{})
	if hasDatabase {
		if err := c.Database.Resolve(); err != nil {
			return err
		}
	}
	all, client, err := c.open(ctx, c.letterFilter, c.IDs...)
	if err != nil {
		return err
	}
	defer client.Close()
	if hasDatabase {
		inspector, err := inspect.Connect(ctx, c.Database.URL)
		if err != nil {
			return err
		}
		defer func() { _ = inspector.Close(context.WithoutCancel(ctx)) }()
		trial.Database = inspector
	}
	tried, passed := 0, 0
	err = walk(ctx, all, c.Limit, func(_ queue, page []deadletter.Letter) error {
		for i := range page {
			verdict, err := trial.Try(ctx, &page[i])
			if err != nil {
				return err
			}
			tried++
			word := paint(out.Out, red, "fails")
			if verdict.Passes {
				passed++
				word = paint(out.Out, green, "passes")
			}
			fmt.Fprintf(out.Out, "%-18s  %-20s  %s: %s\n", page[i].ID, orDash(printable(page[i].Device)), word, shorten(printable(verdict.Detail), 100))
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out.Out, "%s tried: %d would pass, %d would fail\n", plural(tried, "dead letter"), passed, tried-passed)
	if !hasDatabase {
		fmt.Fprintln(out.Out, "only decoding was tried: set --database-url to try the rows too")
	}
	return c.missed(tried)
}

type dlqDropCmd struct {
	chosen
}

// Help is called by kong.
func (c *dlqDropCmd) Help() string {
	return filterHelp(`  processor dlq drop --reason timestamp_out_of_window --older 720h
  processor dlq drop --yes 1764036553000-0`)
}

// Run is called by kong.
func (c *dlqDropCmd) Run(ctx context.Context, out Streams) error {
	return c.change(ctx, out, "Delete %s for good (%s)?", "dropped", func(q queue, page []deadletter.Letter) (int, error) {
		return q.Drop(ctx, page)
	})
}
