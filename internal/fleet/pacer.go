package fleet

import (
	"math"
	"time"
)

const (
	// tick is how often a paced publisher sends.
	tick = 10 * time.Millisecond
	// catchUp is how many times the wanted rate a publisher goes at most while
	// it makes up for a stall.
	catchUp = 2
	// burst is how much time's worth of entries may go at once. It is more than
	// a tick, so that a late tick or a slow answer costs no throughput.
	burst = 4 * tick
)

// pacer says how many entries are due. It keeps to the wanted rate over any
// length of time, and owes what a stall has delayed; a token bucket that fills
// at catchUp times the rate keeps the repayment smooth.
type pacer struct {
	rate  float64 // entries per second
	last  time.Time
	owed  float64 // entries that the rate asks for and that were not yet due
	room  float64 // tokens: entries that may go now
	depth float64 // most tokens
}

// newPacer returns a pacer by which the first entry is due at once.
func newPacer(rate float64, now time.Time) *pacer {
	depth := max(1, catchUp*rate*burst.Seconds())
	return &pacer{rate: rate, last: now, owed: 1, room: 1, depth: depth}
}

// due returns how many entries to send at now, and takes them as sent.
func (p *pacer) due(now time.Time) int64 {
	dt := now.Sub(p.last).Seconds()
	p.last = now
	p.owed += p.rate * dt
	p.room = min(p.room+catchUp*p.rate*dt, p.depth)
	n := math.Floor(min(p.owed, p.room))
	p.owed -= n
	p.room -= n
	return int64(n)
}
