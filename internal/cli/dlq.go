package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"processor/internal/deadletter"
	"processor/internal/service"
	"processor/internal/store"
	"processor/internal/stream"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List dead letters, the oldest first, and count them by reason."`
	Show   dlqShowCmd   `cmd:"" help:"Show one dead letter with its payload."`
	Replay dlqReplayCmd `cmd:"" help:"Put dead letters back on their stream for the worker to read again."`
	Drop   dlqDropCmd   `cmd:"" help:"Delete dead letters for good."`
}

// queues are the dead letters of the streams that the flags name.
type queues struct {
	Redis   service.Redis `embed:"" group:"Redis:"`
	Streams []string      `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME,…" group:"Redis:" help:"Streams whose dead letters are meant, separated by commas (default: ${default})."`
}

// letterFilter chooses dead letters.
type letterFilter struct {
	Reason []deadletter.Reason `env:"DLQ_REASON" placeholder:"REASON,…" group:"Dead letters:" help:"Only these reasons (default: all)."`
	Device []string            `env:"DLQ_DEVICE" placeholder:"ID,…" group:"Dead letters:" help:"Only of these devices (default: all)."`
	Older  time.Duration       `env:"DLQ_OLDER" default:"0s" range:"0s..876000h" placeholder:"DURATION" group:"Dead letters:" help:"Only those that became dead letters longer ago than this, as in 24h; 0 is no bound (default: ${default})."`
	Newer  time.Duration       `env:"DLQ_NEWER" default:"0s" range:"0s..876000h" placeholder:"DURATION" group:"Dead letters:" help:"Only those that became dead letters within this time, as in 90m; 0 is no bound (default: ${default})."`
}

// Help is called by kong, for each command that has the filter.
func (f *letterFilter) Help() string {
	names := make([]string, len(deadletter.Reasons()))
	for i, r := range deadletter.Reasons() {
		names[i] = string(r)
	}
	return "Reasons: " + strings.Join(names, ", ") + "."
}

// letterID is an id on the command line.
type letterID struct{ stream.ID }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *letterID) UnmarshalText(text []byte) (err error) {
	id.ID, err = stream.ParseID(string(text))
	return err
}

// queue is one stream's dead letters, and what the filter chose of them.
type queue struct {
	*deadletter.Queue
	stream string
	chosen *deadletter.Selection
}

// open connects and fixes what the filter means. The caller closes the client.
func (c *queues) open(ctx context.Context, filter letterFilter, ids ...letterID) ([]queue, redis.UniversalClient, error) {
	if err := c.Redis.Resolve(); err != nil {
		return nil, nil, err
	}
	if len(ids) > 0 && len(c.Streams) != 1 {
		return nil, nil, &service.SettingError{Flag: "redis-stream", Env: "REDIS_STREAM", Err: errors.New("ids need exactly one stream, since two may have the same")}
	}
	f := deadletter.Filter{Reasons: filter.Reason, Devices: filter.Device, Older: filter.Older, Newer: filter.Newer}
	for _, id := range ids {
		f.IDs = append(f.IDs, id.ID)
	}
	client, err := stream.Connect(c.Redis.URL)
	if err != nil {
		return nil, nil, err
	}
	all := make([]queue, len(c.Streams))
	for i, name := range c.Streams {
		q := deadletter.NewQueue(client, name)
		chosen, err := q.Select(ctx, f)
		if err != nil {
			return nil, nil, errors.Join(err, client.Close())
		}
		all[i] = queue{q, name, chosen}
	}
	return all, client, nil
}

// errEnough ends a walk before its end.
var errEnough = errors.New("enough")

// walk calls visit with the chosen letters of one queue after the other, at most limit of them
// (0: all), a page at a time.
func walk(ctx context.Context, all []queue, limit int, visit func(queue, []deadletter.Letter) error) error {
	left := limit
	for _, q := range all {
		err := q.chosen.Pages(ctx, func(page []deadletter.Letter) error {
			if limit > 0 {
				page = page[:min(left, len(page))]
				left -= len(page)
			}
			if err := visit(q, page); err != nil {
				return err
			}
			if limit > 0 && left == 0 {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tally counts letters by reason.
type tally map[string]int

func (t tally) add(page []deadletter.Letter) {
	for i := range page {
		t[reasonOf(&page[i].DeadLetter)]++
	}
}

func (t tally) total() int {
	total := 0
	for _, n := range t {
		total += n
	}
	return total
}

// String lists the reasons, the most frequent first.
func (t tally) String() string {
	reasons := make([]string, 0, len(t))
	for reason := range t {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		if t[a] != t[b] {
			return t[b] - t[a]
		}
		return strings.Compare(a, b)
	})
	for i, reason := range reasons {
		reasons[i] = strconv.Itoa(t[reason]) + " " + printable(reason)
	}
	return strings.Join(reasons, ", ")
}

// reasonOf names what somebody else put on the dead-letter stream "unknown".
func reasonOf(l *stream.DeadLetter) string {
	if l.Reason == "" {
		return "unknown"
	}
	return l.Reason
}

type dlqListCmd struct {
	queues
	letterFilter
	Limit int  `env:"DLQ_LIMIT" default:"100" range:"0..1000000000" placeholder:"N" group:"Dead letters:" help:"List at most so many; 0 lists all (default: ${default}). The counts are of all."`
	JSON  bool `name:"json" env:"DLQ_JSON" help:"One JSON object a line, and no counts."`
}

// letterJSON is a line of dlq list --json.
type letterJSON struct {
	Stream   string    `json:"stream"`
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail"`
	SQLState string    `json:"sqlstate,omitempty"`
	Device   string    `json:"device_id"`
	SourceID string    `json:"source_id"`
}

// Run is called by kong.
func (c *dlqListCmd) Run(ctx context.Context, out Streams) error {
	all, client, err := c.open(ctx, c.letterFilter)
	if err != nil {
		return err
	}
	defer client.Close()
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
	counts := tally{}
	err = walk(ctx, all, 0, func(q queue, page []deadletter.Letter) error {
		listed := counts.total()
		counts.add(page)
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
	total := counts.total()
	switch {
	case total == 0:
		fmt.Fprintln(out.Out, "no dead letters")
	case c.Limit > 0 && total > c.Limit:
		fmt.Fprintf(out.Out, "%d of %d dead letters listed: %s\n", c.Limit, total, counts)
	default:
		fmt.Fprintf(out.Out, "%s: %s\n", plural(total, "dead letter"), counts)
	}
	return nil
}

func asJSON(name string, l *deadletter.Letter) letterJSON {
	return letterJSON{name, l.ID.String(), timeOf(l), reasonOf(&l.DeadLetter), l.Detail, l.SQLState, l.Device, l.SourceID}
}

// timeOf is when the entry was given up. Where the letter does not say, its id does.
func timeOf(l *deadletter.Letter) time.Time {
	if l.Time.IsZero() {
		return l.ID.Time().UTC()
	}
	return l.Time.UTC()
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
		fmt.Fprintf(w, letterLine, l.ID, stamp(timeOf(l)), printable(reasonOf(&l.DeadLetter)), orDash(printable(l.Device)), detail)
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

type dlqShowCmd struct {
	queues
	ID   letterID `arg:"" help:"Id of the dead letter, as dlq list shows it."`
	JSON bool     `name:"json" env:"DLQ_JSON" help:"One JSON object."`
}

// showJSON is what dlq show --json writes.
type showJSON struct {
	letterJSON
	Fields []fieldJSON `json:"fields"`
}

// fieldJSON has one of the two values: JSON holds no bytes that are not UTF-8.
type fieldJSON struct {
	Name   string  `json:"name"`
	Value  *string `json:"value,omitempty"`
	Base64 []byte  `json:"value_base64,omitempty"`
}

// Run is called by kong.
func (c *dlqShowCmd) Run(ctx context.Context, out Streams) error {
	all, client, err := c.open(ctx, letterFilter{}, c.ID)
	if err != nil {
		return err
	}
	defer client.Close()
	found := false
	err = walk(ctx, all, 0, func(q queue, page []deadletter.Letter) error {
		found = true
		if c.JSON {
			return printJSON(out.Out, showJSON{asJSON(q.stream, &page[0]), fieldsJSON(page[0].Fields)})
		}
		printLetter(out.Out, q.stream, &page[0])
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("stream %s has no dead letter %s", c.Streams[0], c.ID.ID)
	}
	return err
}

func fieldsJSON(fields []stream.Field) []fieldJSON {
	all := make([]fieldJSON, len(fields))
	for i, f := range fields {
		all[i].Name = string(f.Name)
		if utf8.Valid(f.Value) {
			text := string(f.Value)
			all[i].Value = &text
		} else {
			all[i].Base64 = f.Value
		}
	}
	return all
}

func printLetter(w io.Writer, name string, l *deadletter.Letter) {
	line := func(label, text string) { fmt.Fprintf(w, "%-12s%s\n", label, text) }
	line("id", l.ID.String())
	line("stream", name)
	line("source id", orDash(printable(l.SourceID)))
	line("time", stamp(timeOf(l)))
	line("reason", printable(reasonOf(&l.DeadLetter)))
	line("detail", orDash(printable(l.Detail)))
	line("sqlstate", orDash(printable(l.SQLState)))
	line("device", orDash(printable(l.Device)))
	for _, f := range l.Fields {
		if string(f.Name) != "payload" {
			line("field", fmt.Sprintf("%s = %q", printable(string(f.Name)), f.Value))
			continue
		}
		fmt.Fprintf(w, "payload (%s):\n%s\n", plural(len(f.Value), "byte"), readable(f.Value))
	}
}

// readable indents what is JSON, every digit as it was, and quotes what is not.
func readable(payload []byte) string {
	var indented bytes.Buffer
	if !utf8.Valid(payload) || json.Indent(&indented, payload, "", "  ") != nil {
		return strconv.Quote(string(payload))
	}
	return escape(indented.String(), func(r rune) bool { return r == '\n' })
}

// chosen are the arguments of the commands that change the queue.
type chosen struct {
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

// missed is an error where ids were named that no letter has, or that a filter left out.
func (c *chosen) missed(done int) error {
	if missed := len(c.IDs) - done; missed > 0 && c.Limit == 0 {
		return fmt.Errorf("%d of the %d ids named no dead letter that the filters choose", missed, len(c.IDs))
	}
	return nil
}

type dlqReplayCmd struct {
	queues
	chosen
	Database  service.Database `embed:"" group:"Dry run:"`
	MaxAge    time.Duration    `env:"MAX_AGE" default:"87600h" range:"0s..2000000h" placeholder:"DURATION" group:"Dry run:" help:"The worker's --max-age (default: ${default}, ten years)."`
	MaxFuture time.Duration    `env:"MAX_FUTURE" default:"24h" range:"0s..2000000h" placeholder:"DURATION" group:"Dry run:" help:"The worker's --max-future (default: ${default})."`
	DryRun    bool             `env:"DLQ_DRY_RUN" group:"Dry run:" help:"Change nothing; say for each whether it would now pass. With a database URL the row is tried in a transaction that is rolled back."`
}

// Run is called by kong.
func (c *dlqReplayCmd) Run(ctx context.Context, out Streams) error {
	all, client, err := c.open(ctx, c.letterFilter, c.IDs...)
	if err != nil {
		return err
	}
	defer client.Close()
	if c.DryRun {
		return c.dryRun(ctx, out, all)
	}
	if err := c.agree(ctx, out, all, "Replay %s (%s)?"); err != nil {
		return err
	}
	done := 0
	err = walk(ctx, all, c.Limit, func(q queue, page []deadletter.Letter) error {
		n, err := q.Replay(ctx, page)
		done += n
		return err
	})
	fmt.Fprintf(out.Out, "%s replayed\n", plural(done, "dead letter"))
	if err != nil {
		return err
	}
	return c.missed(done)
}

func (c *dlqReplayCmd) dryRun(ctx context.Context, out Streams, all []queue) error {
	trial := deadletter.Trial{Window: deadletter.Window{MaxAge: c.MaxAge, MaxFuture: c.MaxFuture}}
	if c.Database.URL != "" || c.Database.URLFile != "" {
		if err := c.Database.Resolve(); err != nil {
			return err
		}
		inspector, err := store.Inspect(ctx, c.Database.URL)
		if err != nil {
			return &hiddenError{err, []string{c.Database.URL}}
		}
		defer func() { _ = inspector.Close(context.WithoutCancel(ctx)) }()
		trial.Database = inspector
	}
	tried, passed := 0, 0
	err := walk(ctx, all, c.Limit, func(_ queue, page []deadletter.Letter) error {
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
	if trial.Database == nil {
		fmt.Fprintln(out.Out, "only decoding was tried: set --database-url to try the rows too")
	}
	return c.missed(tried)
}

type dlqDropCmd struct {
	queues
	chosen
}

// Run is called by kong.
func (c *dlqDropCmd) Run(ctx context.Context, out Streams) error {
	all, client, err := c.open(ctx, c.letterFilter, c.IDs...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := c.agree(ctx, out, all, "Delete %s for good (%s)?"); err != nil {
		return err
	}
	done := 0
	err = walk(ctx, all, c.Limit, func(q queue, page []deadletter.Letter) error {
		n, err := q.Drop(ctx, page)
		done += n
		return err
	})
	fmt.Fprintf(out.Out, "%s dropped\n", plural(done, "dead letter"))
	if err != nil {
		return err
	}
	return c.missed(done)
}
