package cli

import (
	"context"
	"fmt"
	"io"

	"processor/internal/deadletter"
)

type dlqListCmd struct {
	queues
	letterFilter
	By    groupBy `env:"DLQ_BY" placeholder:"KEY" group:"Dead letters:" help:"Count them by reason, device or hour instead (default: list each)."`
	Limit int     `env:"DLQ_LIMIT" default:"100" range:"0..1000000000" placeholder:"N" group:"Dead letters:" help:"List at most so many; 0 lists all (default: ${default}). The counts are of all."`
	JSON  bool    `name:"json" env:"DLQ_JSON" help:"Print one JSON object per line; the counts of dead letters come with --by."`
}

// Help is called by kong.
func (c *dlqListCmd) Help() string {
	return filterHelp(`  processor dlq list --newer 1h
  processor dlq list --by device
  processor dlq list --reason timestamp_out_of_window --device 356307042441013 --limit 0
  processor dlq list --json | jq .detail`)
}

// Run is called by kong.
func (c *dlqListCmd) Run(ctx context.Context, out Streams) error {
	return granted(c.list(ctx, out), c.Redis.URL, listRights(c.Streams))
}

func (c *dlqListCmd) list(ctx context.Context, out Streams) error {
	c.Newest = true
	all, client, err := c.open(ctx, c.letterFilter)
	if err != nil {
		return err
	}
	defer client.Close()
	if c.By != "" {
		return c.count(ctx, out, all)
	}
	if c.JSON {
		return walk(ctx, all, c.Limit, func(q queue, page []deadletter.Letter) error {
			for i := range page {
				if err := printJSON(out.Out, asJSON(q.stream, &page[i])); err != nil {
					return err
				}
			}
			return nil
		})
	}
	counts := deadletter.Tally{}
	err = walk(ctx, all, 0, func(q queue, page []deadletter.Letter) error {
		listed := counts.Total()
		counts.Add(page)
		if c.Limit > 0 {
			page = page[:min(max(c.Limit-listed, 0), len(page))]
		}
		if listed == 0 {
			fmt.Fprintf(out.Out, letterLine, "ID", "TIME", "REASON", "DEVICE", "DETAIL")
		}
		printLetters(out.Out, q.stream, len(all) > 1, page)
		return nil
	})
	if err != nil {
		return err
	}
	total := counts.Total()
	switch {
	case total == 0:
		fmt.Fprintln(out.Out, "no dead letters")
	case c.Limit > 0 && total > c.Limit:
		fmt.Fprintf(out.Out, "%s of %s dead letters listed: %s\n", thousands(int64(c.Limit)), thousands(int64(total)), counts)
	default:
		fmt.Fprintf(out.Out, "%s: %s\n", plural(total, "dead letter"), counts)
	}
	return nil
}

const letterLine = "%-18s  %-24s  %-23s  %-20s  %s\n"

// printLetters writes columns of fixed width: to fit them, all letters would have to be held.
func printLetters(w io.Writer, name string, several bool, page []deadletter.Letter) {
	for i := range page {
		l := &page[i]
		detail := shorten(printable(l.Detail), 60)
		if several {
			detail += " (stream " + name + ")"
		}
		fmt.Fprintf(w, letterLine, l.ID, stamp(l.At()), printable(l.ReasonText()), orDash(printable(l.Device)), detail)
	}
}
