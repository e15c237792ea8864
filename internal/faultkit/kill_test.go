package faultkit

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
	"processor/internal/servertest"
)

// publishing publishes n positions at a pace while the test goes on. The function that it returns
// waits for the last one.
func (r *rig) publishing(n int, perSecond float64) (wait func()) {
	r.t.Helper()
	records := make([]fleet.Record, n)
	for i := range records {
		records[i] = r.fleet.Next(time.Time{})
		r.published = append(r.published, records[i].Payload)
	}
	done := make(chan error, 1)
	publisher := fleet.NewPublisher(r.redis, r.config.Streams[0], 0)
	go func() {
		// A hundred times a second: the pace is even.
		pause := time.NewTicker(10 * time.Millisecond)
		defer pause.Stop()
		for part := range slices.Chunk(records, max(int(perSecond/100), 1)) {
			if err := publisher.Publish(r.t.Context(), part...); err != nil {
				done <- err
				return
			}
			<-pause.C
		}
		done <- nil
	}()
	return func() { require.NoError(r.t, servertest.Within(r.t, done)) }
}

// after waits for an amount of time that is itself what is tested.
func after(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// The worker is killed at random moments while positions are published, and started again. However
// often an entry was delivered by then, it is a row in the end: it never was at fault.
func TestKill_AtRandomMoments(t *testing.T) {
	t.Parallel()
	kills, positions := 6, 10_000
	if full() {
		kills, positions = 30, 100_000
	}
	r := newRig(t)
	wait := r.publishing(positions, 5000)
	inFlight := 0
	for range kills {
		w := r.start()
		after(t, rand.N(500*time.Millisecond))
		w.Kill()
		if r.pending() > 0 {
			inFlight++
		}
	}
	wait()
	w := r.start()
	r.awaitDrained()
	w.stop()
	r.requireExact()
	t.Logf("%d kills, %d of them with entries in flight; %s rows, %d pending", kills, inFlight, r.rows(), r.pending())
	require.Positive(t, inFlight, "no kill met a batch in flight")
}
