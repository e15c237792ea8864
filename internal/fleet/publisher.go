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

// pipelineSize is the number of XADD commands in one pipeline: enough to make
// the round trip insignificant, few enough to keep buffers below a megabyte.
const pipelineSize = 500

var errNoID = errors.New("no id in the reply to XADD")

// Publisher adds records to a Redis Stream, each as the entry that
// tcp-ingestion would write: the fields ts, device_id, codec and payload, in
// this order. Its methods are safe for concurrent use.
type Publisher struct {
	// OnRetry, if not nil, is called before each retry with the error of Redis
	// and the time until the retry. Set it before the first Publish or Run.
	OnRetry func(err error, wait time.Duration)

	client      redis.UniversalClient
	stream      string
	maxLen      int64
	published   atomic.Uint64
	unconfirmed atomic.Uint64
}

// NewPublisher returns a publisher for a stream. If maxLen is above zero, each
// XADD trims the stream with MAXLEN ~ maxLen, which removes the oldest entries,
// read or unread. The caller keeps ownership of client and closes it.
func NewPublisher(client redis.UniversalClient, stream string, maxLen int64) *Publisher {
	return &Publisher{client: client, stream: stream, maxLen: maxLen}
}

// Published returns the number of records that Redis has confirmed with an
// entry id. Each record counts once and becomes one row.
//
// The stream may be longer: a pipeline whose reply was lost may have been
// executed and is sent again. Its records may then be on the stream twice, but
// count once and become one row each.
func (p *Publisher) Published() uint64 { return p.published.Load() }

// Unconfirmed returns the number of records that were sent but not confirmed
// when Publish returned an error. Any number of them may be on the stream, so
// the number of rows is at least Published and at most Published + Unconfirmed.
func (p *Publisher) Unconfirmed() uint64 { return p.unconfirmed.Load() }

// Publish adds the records in pipelines and returns when Redis has confirmed
// all of them. The caller must not change the records or their payloads before
// it returns.
//
// After an error it sends the unconfirmed records again, with backoff and
// jitter, until ctx ends; it then returns an error that wraps ctx's error and
// Redis's last error. It does not retry if the credentials are wrong, XADD is
// not permitted, or the key is not a stream.
func (p *Publisher) Publish(ctx context.Context, records ...Record) error {
	for batch := range slices.Chunk(records, pipelineSize) {
		if err := p.publishBatch(ctx, batch); err != nil {
			return fmt.Errorf("publish to stream %q: %w", p.stream, err)
		}
	}
	return nil
}

// publishBatch sends the batch until Redis has confirmed all of it.
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

// newBackoff returns an exponential backoff from 50 ms to 2 s, with a jitter of 50 %.
func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = 50*time.Millisecond, 2*time.Second, 2
	return b
}

// send adds the batch with one pipeline and counts the confirmed records. It
// returns the unconfirmed records and the cause; the error is nil if there are
// none.
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
		// If the connection was refused before the pipeline was written, the
		// commands have no error. Only an entry id confirms an XADD.
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

// permanent reports whether a retry cannot succeed without a change of the
// configuration. It compares error codes of the Redis protocol.
func permanent(err error) bool {
	return redis.IsAuthError(err) || redis.IsPermissionError(err) || redis.HasErrorPrefix(err, "WRONGTYPE")
}
