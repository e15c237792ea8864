package cli

import (
	"context"
	"fmt"
	"time"

	"processor/internal/fleet"
	"processor/internal/service"
	"processor/internal/stream"
)

type publishCmd struct {
	service.Redis `group:"Redis:"`
	Stream        string  `name:"redis-stream" env:"REDIS_STREAM" default:"telemetry:t" placeholder:"NAME" group:"Redis:" help:"Stream to write to (default: ${default})."`
	MaxLen        int     `name:"max-len" env:"PUBLISH_MAX_LEN" default:"0" range:"0..1000000000" placeholder:"ENTRIES" group:"Fleet:" help:"Trim the stream to about this many entries; 0 never trims (default: ${default})."`
	Rate          float64 `env:"PUBLISH_RATE" default:"1000" range:"0..1000000" placeholder:"N" group:"Fleet:" help:"Positions a second over all devices; 0 is as fast as Redis takes them (default: ${default})."`
	Devices       int     `env:"PUBLISH_DEVICES" default:"1000" range:"1..10000000" placeholder:"N" group:"Fleet:" help:"Simulated trackers (default: ${default})."`
	Count         int     `env:"PUBLISH_COUNT" default:"0" range:"0..1000000000" placeholder:"N" group:"Fleet:" help:"Positions to publish; 0 goes on until Ctrl-C (default: ${default})."`
	Seed          int     `env:"PUBLISH_SEED" default:"1" range:"0..1000000000" placeholder:"N" group:"Fleet:" help:"Another seed is another fleet on other roads (default: ${default})."`
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
		return err
	}

	vehicles := fleet.New(fleet.Options{Devices: c.Devices, Seed: uint64(c.Seed), Start: time.Now()})
	publisher := fleet.NewPublisher(client, c.Stream, int64(c.MaxLen))
	began := time.Now()
	err = publisher.Run(ctx, vehicles, fleet.Pace{Rate: c.Rate, Count: int64(c.Count)})
	took := time.Since(began)
	n := publisher.Published()
	fmt.Fprintf(out.Out, "published %d positions to %s in %s (%.0f/s)\n", n, c.Stream, took.Round(time.Millisecond), float64(n)/took.Seconds())
	if ctx.Err() != nil {
		return nil // Ctrl-C is how a publish without --count ends
	}
	return err
}
