package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

// pipelineSize is how many XADD go in one pipeline: enough that the round
// trip does not count, few enough that the buffers stay below a megabyte.
const pipelineSize = 500

var errNoID = errors.New("no id in the answer to XADD")

// Publisher adds records to a Redis Stream, each as the entry that
// tcp-ingestion would write: the fields ts, device_id, codec and payload, in
// this order. Its methods are safe for concurrent use.
type Publisher struct {
	// OnRetry, if not nil, is called before each wait that follows an error of
	// Redis, with that error and the length of the wait. Set it before the
	// first Publish or Run.
	OnRetry func(err error, wait time.Duration)

	client      redis.UniversalClient
	stream      string
	maxLen      int64
	published   atomic.Uint64
	unconfirmed atomic.Uint64
}

// NewPublisher returns a publisher for a stream. With a maxLen above zero each
// XADD trims the stream with MAXLEN ~ maxLen, which drops the oldest entries
// whether they were read or not. The client stays the caller's.
func NewPublisher(client redis.UniversalClient, stream string, maxLen int64) *Publisher {
	return &Publisher{client: client, stream: stream, maxLen: maxLen}
}

// Published returns how many records Redis has acknowledged: it answered their
// XADD with an entry id. Each record counts once, and makes one row.
//
// It is not always the length of the stream. A pipeline whose answer was lost
// may have been applied, and is sent again: its records may then be twice on
// the stream, and still count once and make one row each.
func (p *Publisher) Published() uint64 { return p.published.Load() }

// Unconfirmed returns how many records were sent and then given up, because
// ctx ended or Redis refused them, before Redis acknowledged them. Any number
// of them may be on the stream, so what is stored in the end is at least
// Published and at most Published + Unconfirmed.
func (p *Publisher) Unconfirmed() uint64 { return p.unconfirmed.Load() }

// Publish adds the records, in pipelines, and returns when Redis has
// acknowledged them all. It reads the records and their payloads until then.
//
// After an error it sends again what is not acknowledged, with backoff and
// jitter, until ctx ends; it then returns an error that wraps both ctx's and
// Redis's last one. It gives up at once where no retry can help: Redis asks for
// other credentials, forbids XADD on the stream, or the key holds no stream.
func (p *Publisher) Publish(ctx context.Context, records ...Record) error {
	for batch := range slices.Chunk(records, pipelineSize) {
		if err := p.publishBatch(ctx, batch); err != nil {
			return fmt.Errorf("publish to stream %q: %w", p.stream, err)
		}
	}
	return nil
}

// publishBatch sends the batch until Redis has acknowledged all of it.
func (p *Publisher) publishBatch(ctx context.Context, batch []Record) error {
	if err := ctx.Err(); err != nil {
		return err // nothing was sent
	}
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		batch, last = p.send(ctx, batch)
		if permanent(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(newBackoff()), backoff.WithMaxElapsedTime(0), backoff.WithNotify(p.OnRetry))
	if err == nil {
		return nil
	}
	p.unconfirmed.Add(uint64(len(batch)))
	if ctx.Err() != nil && !permanent(last) {
		return fmt.Errorf("%w, after: %w", ctx.Err(), last)
	}
	return err
}

// newBackoff begins at 50 ms and ends at 2 s; each pause is up to a half shorter or longer.
func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = 50*time.Millisecond, 2*time.Second, 2
	return b
}

// send adds the batch with one pipeline and counts what Redis acknowledged. It
// returns the records that it did not, and why; no error where there are none.
func (p *Publisher) send(ctx context.Context, batch []Record) ([]Record, error) {
	pipe := p.client.Pipeline()
	added := make([]*redis.StringCmd, len(batch))
	for i := range batch {
		rec := &batch[i]
		added[i] = pipe.XAdd(ctx, &redis.XAddArgs{
			Stream: p.stream,
			MaxLen: p.maxLen,
			Approx: true,
			Values: []any{"ts", iso(rec.Timestamp), "device_id", rec.DeviceID, "codec", rec.Codec, "payload", rec.Payload},
		})
	}
	_, err := pipe.Exec(ctx)

	var rest []Record
	for i, cmd := range added {
		// A connection that was refused before the pipeline was written leaves
		// commands without an error: the id is the acknowledgement.
		if cmd.Err() != nil || cmd.Val() == "" {
			rest = append(rest, batch[i])
		}
	}
	p.published.Add(uint64(len(batch) - len(rest)))
	switch {
	case len(rest) == 0:
		return nil, nil
	case err == nil:
		err = errNoID
	}
	return rest, err
}

// permanent reports whether Redis gave an answer that stays the same until
// somebody changes the configuration. The codes are those of Redis's protocol.
func permanent(err error) bool {
	return redis.IsAuthError(err) || redis.IsPermissionError(err) || redis.HasErrorPrefix(err, "WRONGTYPE")
}
