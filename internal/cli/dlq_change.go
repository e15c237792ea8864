package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
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
	counts := deadletter.Tally{}
	err := walk(ctx, all, c.Limit, func(_ queue, page []deadletter.Letter) error {
		counts.Add(page)
		return nil
	})
	if err != nil || counts.Total() == 0 {
		return err
	}
	return confirm(ctx, os.Stdin, out.Err, fmt.Sprintf(question, plural(counts.Total(), "dead letter"), counts))
}

// change asks, and does it to the chosen letters. do returns how many it did, and report prints that and what came of it.
func (c *chosen) change(ctx context.Context, out Streams, all []queue, question string, do func(queue, []deadletter.Letter) (int, error), report func(total int) error) error {
	if err := c.agree(ctx, out, all, question); err != nil {
		return err
	}
	total := 0
	err := walk(ctx, all, c.Limit, func(q queue, page []deadletter.Letter) error {
		n, err := do(q, page)
		total += n
		return err
	})
	err = errors.Join(err, report(total))
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
	Group     string           `name:"redis-group" env:"REDIS_GROUP" default:"processor" placeholder:"NAME" group:"Redis:" help:"Consumer group (default: ${default})."`
	Wait      time.Duration    `env:"DLQ_WAIT" default:"30s" range:"0s..24h" placeholder:"DURATION" group:"Dead letters:" help:"Wait at most so long for the worker, to say what became of the replayed entries (default: ${default})."`
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
		return granted(c.dryRun(ctx, out), c.Redis.URL, listRights(c.Streams))
	}
	return granted(c.replay(ctx, out), c.Redis.URL, replayRights(c.Streams))
}

func (c *dlqReplayCmd) replay(ctx context.Context, out Streams) error {
	if err := service.CheckGroup(c.Group); err != nil {
		return err
	}
	c.Whole = true
	all, client, err := c.open(ctx, c.letterFilter, c.IDs...)
	if err != nil {
		return err
	}
	defer client.Close()
	followers := map[string]*deadletter.Follower{}
	for _, q := range all {
		if followers[q.stream], err = q.Follow(ctx, c.Group); err != nil {
			return err
		}
	}
	return c.change(ctx, out, all, "Replay %s (%s)?", func(q queue, page []deadletter.Letter) (int, error) {
		ids, err := q.Replay(ctx, page)
		followers[q.stream].Add(ids)
		return len(ids), err
	}, func(total int) error {
		if total == 0 {
			_, err := fmt.Fprintln(out.Out, "0 replayed")
			return err
		}
		became, err := c.became(ctx, followers)
		fmt.Fprintf(out.Out, "%s replayed%s\n", thousands(int64(total)), outcomeText(became))
		return err
	})
}

// became waits until every replayed entry is acknowledged, for c.Wait at most and not where nobody reads them, and adds up.
func (c *dlqReplayCmd) became(ctx context.Context, followers map[string]*deadletter.Follower) (sum deadletter.Outcome, err error) {
	end := time.Now().Add(c.Wait)
	for _, f := range followers {
		o, err := f.Await(ctx, end)
		if err != nil {
			return sum, err
		}
		sum.Rows, sum.DeadAgain, sum.Pending = sum.Rows+o.Rows, sum.DeadAgain+o.DeadAgain, sum.Pending+o.Pending
		sum.Unread, sum.Untold = sum.Unread+o.Unread, sum.Untold+o.Untold
		sum.Read = sum.Read || o.Read
	}
	return sum, nil
}

// outcomeText is ": 4 rows, 1 dead letter again".
func outcomeText(o deadletter.Outcome) string {
	var parts []string
	add := func(n int, text string) {
		if n > 0 {
			parts = append(parts, text)
		}
	}
	add(o.Rows, plural(o.Rows, "row"))
	add(o.DeadAgain, plural(o.DeadAgain, "dead letter")+" again")
	add(o.Pending, fmt.Sprintf("%d pending", o.Pending))
	unread := fmt.Sprintf("%d unread", o.Unread)
	if !o.Read {
		unread += " (no worker reads)"
	}
	add(o.Unread, unread)
	add(o.Untold, fmt.Sprintf("%d not followed", o.Untold))
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
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
	return granted(c.drop(ctx, out), c.Redis.URL, dropRights(c.Streams))
}

func (c *dlqDropCmd) drop(ctx context.Context, out Streams) error {
	all, client, err := c.open(ctx, c.letterFilter, c.IDs...)
	if err != nil {
		return err
	}
	defer client.Close()
	return c.change(ctx, out, all, "Delete %s for good (%s)?", func(q queue, page []deadletter.Letter) (int, error) {
		return q.Drop(ctx, page)
	}, func(total int) error {
		_, err := fmt.Fprintf(out.Out, "%s dropped\n", plural(total, "dead letter"))
		return err
	})
}
