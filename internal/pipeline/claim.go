package pipeline

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"processor/internal/stream"
)

// claims takes over what other consumers left pending for too long: a pod that is gone, or one
// that hangs.
type claims struct {
	lane   *lane
	at     time.Time // when to claim next
	cursor stream.Cursor
}

// claim takes one page of the pending list a call, the cursor carried, so that claiming never
// keeps new entries waiting for long. Nothing is claimed while batches are held because of the
// database, or while this worker has more to park than fits. It reports whether there are further pages.
func (c *claims) claim(ctx, work context.Context) (more bool, err error) {
	l := c.lane
	if time.Now().Before(c.at) || !l.pipeline.Store.Healthy() || l.returned.Load() > 0 {
		return false, nil
	}
	if c.cursor.AtBeginning() {
		c.renew(ctx)
	}
	claimed, err := c.take(ctx)
	if l.refused(err) {
		c.cursor, c.at = stream.Cursor{}, l.claimTime()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.incidents.claims.Recover()
	c.cursor = claimed.Next
	more = !c.cursor.AtBeginning()
	if !more {
		c.at = l.claimTime()
	}
	held := l.held()
	l.reportTrimmed(claimed.Trimmed, held)
	b := leaveOut(claimed.Batch, held)
	if len(b.Entries) == 0 {
		return more, nil
	}
	l.pipeline.Metrics.Claimed.Add(float64(len(b.Entries)))
	l.logger.Info("entries that were pending for too long are taken over", "entries", len(b.Entries))
	l.new.size.observe(len(claimed.Entries), claimed.Bytes)
	return more, l.handRedelivered(ctx, work, b, true)
}

// take claims one page, where its deliveries can be counted: a claim is one itself.
func (c *claims) take(ctx context.Context) (stream.Claimed, error) {
	l := c.lane
	if err := l.mayAssess(ctx); err != nil {
		return stream.Claimed{}, err
	}
	return l.consumer.Claim(ctx, l.pipeline.Options.ClaimIdle, c.cursor, l.new.size.count(0, 0))
}

// claimTime is the next one: between a quarter and three quarters of ClaimIdle, so that replicas take turns.
func (l *lane) claimTime() time.Time {
	idle := l.pipeline.Options.ClaimIdle
	return time.Now().Add(idle/4 + rand.N(idle/2+1))
}

// refused reports whether err is Redis's refusal of a command about pending entries, such as a missing right,
// and notes it. New entries are read all the same, and it is tried again at the next claim time.
func (l *lane) refused(err error) bool {
	if !stream.Refused(err) {
		return false
	}
	l.incidents.claims.Fail(err)
	return true
}

// renew keeps this worker from claiming what it has in memory, which would count as a delivery. It claims
// nothing while it is held up itself, and others then take its entries over.
func (c *claims) renew(ctx context.Context) {
	l := c.lane
	var ids []stream.ID
	for id, whole := range l.held() {
		if whole {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, stream.ID.Compare)
	if err := l.consumer.Renew(ctx, l.pipeline.Options.ClaimIdle/4, ids); err != nil {
		l.logger.Debug("entries in memory cannot be renewed", "error", err)
	}
}

// reportTrimmed counts pending entries of which Redis has nothing left. Those that are held
// here are no loss: they are in memory, and are stored all the same. What another replica holds
// cannot be seen from here.
func (l *lane) reportTrimmed(trimmed []stream.ID, held map[stream.ID]bool) {
	gone := 0
	for _, id := range trimmed {
		if !held[id] {
			gone++
		}
	}
	if gone == 0 {
		return
	}
	l.pipeline.Metrics.LostPending.WithLabelValues(l.name()).Add(float64(gone))
	l.logger.Error("pending entries were trimmed from the stream; they may be lost: unless a live replica still holds them", "entries", gone)
}
