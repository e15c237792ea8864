package pipeline

import (
	"time"

	"processor/internal/stream"
)

// paceSpan is how far apart the two looks are from which the time to catch up is computed: long enough for several
// batches, short enough to show soon what has changed.
const paceSpan = 15 * time.Second

// pace computes how long the group needs for its lag, from looks at a stream.
type pace struct {
	looks []paceLook // the oldest first; the first one is paceSpan old, or older
}

type paceLook struct {
	at     time.Time
	counts stream.Counts
}

// update returns 0 without a backlog, and nil where the lag does not become smaller or is not known.
func (p *pace) update(now time.Time, counts stream.Counts) *time.Duration {
	p.looks = append(p.looks, paceLook{now, counts})
	for len(p.looks) > 2 && now.Sub(p.looks[1].at) >= paceSpan {
		p.looks = p.looks[1:]
	}
	before := p.looks[0]
	rates := stream.PaceOf(before.counts, counts, now.Sub(before.at))
	if rates.KeepsUp(counts.Lag) {
		return new(time.Duration)
	}
	return rates.CatchUp(counts.Lag)
}
