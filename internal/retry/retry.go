// Package retry holds the pauses between attempts at what a server does not do at once.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// NewBackOff returns pauses from 50 ms, so that a deadlock costs little, to 2 s, so that a server that is
// back is used soon; each is up to a half shorter or longer, so that replicas do not march in step. The
// caller owns it; it is not safe for concurrent use.
func NewBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = 50*time.Millisecond, 2*time.Second, 2
	return b
}

// Sleep returns after d, or with the cause of ctx when that ends first. A d of 0 or less is no pause.
func Sleep(ctx context.Context, d time.Duration) error {
	return SleepUntil(ctx, d, nil)
}

// SleepUntil is Sleep that also returns, without an error, when done is closed.
func SleepUntil(ctx context.Context, d time.Duration, done <-chan struct{}) error {
	if d <= 0 || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
