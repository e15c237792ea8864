package fleet

import (
	"math"
	"time"
)

const (
	// tick is the interval at which a paced publisher sends.
	tick = 10 * time.Millisecond
	// catchUp is the maximum rate after a stall, as a multiple of the target
	// rate.
	catchUp = 2
	// burst is the maximum number of entries sent at once, expressed as time at
	// the maximum rate. It exceeds a tick, so that a late tick or a slow reply
	// costs no throughput.
	burst = 4 * tick
)

// pacer computes how many entries are due. On average it keeps the target rate:
// entries delayed by a stall are sent later. A token bucket that fills at
// catchUp times the rate limits the rate of this catching up.
type pacer struct {
	rate   float64 // entries per second
	last   time.Time
	owed   float64 // entries due by the target rate and not yet returned by due
	tokens float64 // entries that the bucket allows now
	depth  float64 // maximum of tokens
}

// newPacer returns a pacer whose first entry is due immediately.
func newPacer(rate float64, now time.Time) *pacer {
	depth := max(1, catchUp*rate*burst.Seconds())
	return &pacer{rate: rate, last: now, owed: 1, tokens: 1, depth: depth}
}

// due returns the number of entries to send at now, and counts them as sent.
func (p *pacer) due(now time.Time) int64 {
	dt := now.Sub(p.last).Seconds()
	p.last = now
	p.owed += p.rate * dt
	p.tokens = min(p.tokens+catchUp*p.rate*dt, p.depth)
	n := math.Floor(min(p.owed, p.tokens))
	p.owed -= n
	p.tokens -= n
	return int64(n)
}
