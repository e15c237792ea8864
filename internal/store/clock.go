package store

import (
	"context"
	"time"
)

// clock is the time by which a Store decides. Tests have one of their own.
type clock struct {
	now func() time.Time
	// limit returns a context that ends after the duration, with errTimeout as its cause.
	limit func(context.Context, time.Duration) (context.Context, context.CancelFunc)
}

func wallClock() clock {
	return clock{now: time.Now, limit: func(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, d, errTimeout)
	}}
}
