package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/fleet"
	"processor/internal/observe"
	"processor/internal/service"
	"processor/internal/stream"
)

type publishCmd struct {
	service.Redis `group:"Redis:"`
	Stream        string        `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Stream to write to (default: ${default})."`
	MaxLen        int           `name:"max-len" env:"PUBLISH_MAX_LEN" default:"0" range:"0..1000000000" placeholder:"ENTRIES" group:"Fleet:" help:"Trim the stream to about this many entries; 0 never trims (default: ${default})."`
	Rate          float64       `env:"PUBLISH_RATE" default:"1000" range:"0..1000000" placeholder:"N" group:"Fleet:" help:"Positions a second over all devices; 0 is as fast as Redis takes them (default: ${default})."`
	Devices       int           `env:"PUBLISH_DEVICES" default:"1000" range:"1..10000000" placeholder:"N" group:"Fleet:" help:"Simulated trackers (default: ${default})."`
	Count         int           `env:"PUBLISH_COUNT" default:"0" range:"0..1000000000" placeholder:"N" group:"Fleet:" help:"Positions to publish; 0 goes on until Ctrl-C (default: ${default})."`
	RetryFor      time.Duration `env:"PUBLISH_RETRY_FOR" default:"1m" range:"0s..876000h" placeholder:"DURATION" group:"Fleet:" help:"Give up when Redis has refused everything, or was away, for so long (default: ${default})."`
	Seed          int           `env:"PUBLISH_SEED" default:"1" range:"0..1000000000" placeholder:"N" group:"Fleet:" help:"Another seed is another fleet on other roads (default: ${default})."`
}

// Help is called by kong.
func (c *publishCmd) Help() string {
	return `Examples:
  processor publish --redis-url redis://localhost:6379/0 --rate 5000 --devices 10000
  processor publish --redis-url redis://localhost:6379/0 --rate 0 --count 200000`
}

// Run is called by kong.
func (c *publishCmd) Run(ctx context.Context, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	if err := service.CheckStreams(c.Stream); err != nil {
		return err
	}
	client, err := stream.Connect(c.URL)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := stream.Ping(ctx, client); err != nil {
		if hint := refusal(err); hint != "" {
			return fmt.Errorf("refused by Redis: %w. Fix: %s", err, hint)
		}
		return granted(err, c.URL, "+ping")
	}

	vehicles := fleet.New(fleet.Options{Devices: c.Devices, Seed: uint64(c.Seed), Start: time.Now()})
	publisher := fleet.NewPublisher(client, c.Stream, int64(c.MaxLen))
	publishing, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	publisher.OnRetry = c.onRetry(out, publisher, giveUp)
	began := time.Now()
	err = publisher.Run(publishing, vehicles, fleet.Pace{Rate: c.Rate, Count: int64(c.Count)})
	took := time.Since(began)
	n := publisher.Published()
	fmt.Fprintf(out.Out, "published %d positions to %s in %s (%.0f/s)\n", n, c.Stream, took.Round(time.Millisecond), float64(n)/took.Seconds())
	if ctx.Err() != nil {
		return nil // Ctrl-C is how a publish without --count ends
	}
	if cause := context.Cause(publishing); err != nil && cause != nil {
		return cause
	}
	return explainPublish(err, c.URL, c.Stream)
}

// onRetry returns what is called when Redis has refused or did not answer. It prints each outage once, and each other cause of
// it, and gives up in the end.
func (c *publishCmd) onRetry(out Streams, publisher *fleet.Publisher, giveUp context.CancelCauseFunc) func(error, time.Duration) {
	var since time.Time
	published, told := uint64(0), ""
	return func(err error, _ time.Duration) {
		if n := publisher.Published(); since.IsZero() || n != published {
			since, published, told = time.Now(), n, ""
		}
		err = explainPublish(err, c.URL, c.Stream)
		if waited := time.Since(since); waited >= c.RetryFor {
			giveUp(fmt.Errorf("gave up after %s: %w", age(waited), err))
			return
		}
		if text := printable(observe.Scrub(err.Error())); text != told {
			told = text
			fmt.Fprintf(out.Err, "processor: not published, trying again: %s\n", text)
		}
	}
}

// explainPublish adds the fix where Redis refuses.
func explainPublish(err error, redisURL, name string) error {
	if err == nil {
		return nil
	}
	if hint := refusal(err); hint != "" {
		return fmt.Errorf("refused by Redis: %w. Fix: %s", err, hint)
	}
	return granted(err, redisURL, selector([]string{name}, itself, "+xadd"))
}

// refusal is the fix for an answer of Redis to XADD.
func refusal(err error) string {
	for code, hint := range map[string]string{
		"OOM":         "raise maxmemory, or trim streams that nobody needs: Redis is full",
		"READONLY":    "name the primary in REDIS_URL, or let Sentinel find it: ?master_name=",
		"MISCONF":     "free disk space for Redis, and look at its log: its last snapshot failed",
		"NOREPLICAS":  "start the replicas of Redis, or lower min-replicas-to-write",
		"MASTERDOWN":  "start the primary of Redis",
		"LOADING":     "wait until Redis has read its data",
		"CLUSTERDOWN": "start the missing masters of the cluster: CLUSTER INFO, CLUSTER NODES",
		"WRONGTYPE":   "the key holds something else than a stream: name another with REDIS_STREAM, or delete the key",
		"NOAUTH":      "correct user and password in REDIS_URL",
		"WRONGPASS":   "correct user and password in REDIS_URL",
	} {
		if redis.HasErrorPrefix(err, code) {
			return hint
		}
	}
	return ""
}
