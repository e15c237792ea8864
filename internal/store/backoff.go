package store

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// NewBackOff returns the pauses between attempts at what a server does not do at once: from 50 ms,
// so that a deadlock costs little, to 2 s, so that a server that is back is used soon; each is up to
// a half shorter or longer, so that replicas do not march in step. The caller owns it; it is not
// safe for concurrent use.
func NewBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = 50*time.Millisecond, 2*time.Second, 2
	return b
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
