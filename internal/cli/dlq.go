package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/deadletter"
	"processor/internal/service"
	"processor/internal/stream"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List dead letters, the newest first, or count them by reason, device or hour."`
	Show   dlqShowCmd   `cmd:"" help:"Show one dead letter with its payload, by its own id or its entry's."`
	Replay dlqReplayCmd `cmd:"" help:"Put dead letters back on their stream, and say what became of them."`
	Drop   dlqDropCmd   `cmd:"" help:"Delete dead letters for good."`
}

// queues are the dead letters of the streams that the flags name.
type queues struct {
	Redis   service.Redis `embed:"" group:"Redis:"`
	Streams []string      `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Streams whose dead letters are meant, separated by commas (default: ${default})."`
}

// letterFilter chooses dead letters.
type letterFilter struct {
	Reason []deadletter.Reason `env:"DLQ_REASON" predictor:"reason" placeholder:"REASON" group:"Dead letters:" help:"Only these reasons (default: all)."`
	Device deviceIDs           `env:"DLQ_DEVICE" placeholder:"ID" group:"Dead letters:" help:"Only of these devices (default: all)."`
	Older  time.Duration       `env:"DLQ_OLDER" default:"0s" range:"0s..876000h" placeholder:"DURATION" group:"Dead letters:" help:"Only those that became dead letters longer ago than this, as in 24h; 0 is no bound (default: ${default})."`
	Newer  time.Duration       `env:"DLQ_NEWER" default:"0s" range:"0s..876000h" placeholder:"DURATION" group:"Dead letters:" help:"Only those that became dead letters within this time, as in 90m; 0 is no bound (default: ${default})."`
	Whole  bool                `kong:"-"` // as in deadletter.Filter
	Newest bool                `kong:"-"` // the newest first
}

// deviceIDs are ids on the command line.
type deviceIDs []string

// filterHelp is the help of a command that has the filter.
func filterHelp(examples string) string {
	return "Reasons: " + strings.Join(reasonNames(), ", ") + ".\n\nExamples:\n" + examples
}

func reasonNames() []string {
	names := make([]string, len(deadletter.Reasons()))
	for i, r := range deadletter.Reasons() {
		names[i] = string(r)
	}
	return names
}

// letterID is an id on the command line.
type letterID struct{ stream.ID }

func parseLetterID(text string) (letterID, error) {
	id, err := stream.ParseID(text)
	return letterID{id}, err
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
	if err := service.CheckStreams(c.Streams...); err != nil {
		return nil, nil, err
	}
	if len(ids) > 0 && len(c.Streams) != 1 {
		return nil, nil, &service.SettingError{Flag: "redis-stream", Env: "REDIS_STREAM", Err: errors.New("ids need exactly one stream, since two may have the same")}
	}
	f := deadletter.Filter{Reasons: filter.Reason, Devices: filter.Device, Older: filter.Older, Newer: filter.Newer, Whole: filter.Whole, NewestFirst: filter.Newest}
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

// letterJSON is a line of dlq list --json, and the head of dlq show --json.
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

func asJSON(name string, l *deadletter.Letter) letterJSON {
	return letterJSON{name, l.ID.String(), l.At(), l.ReasonText(), l.Detail, l.SQLState, l.Device, l.SourceID}
}
