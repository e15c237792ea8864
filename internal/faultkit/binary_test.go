package faultkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

// build makes the real binary, without the race detector.
func build(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "processor")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "processor")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// run starts `processor run` with the rig's configuration, as a container would.
func (r *rig) run(binary string) *worker {
	r.t.Helper()
	c := r.config
	cmd := exec.Command(binary, "run")
	cmd.Env = append(os.Environ(),
		"REDIS_URL="+c.Redis.URL, "DATABASE_URL="+c.Database.URL, "HTTP_ADDR=127.0.0.1:0",
		"REDIS_STREAM="+strings.Join(c.Streams, ","), "REDIS_CONSUMER="+c.Consumer,
		fmt.Sprint("BATCH_SIZE=", c.BatchSize), fmt.Sprint("BATCH_BYTES=", c.BatchBytes), fmt.Sprint("WRITERS=", c.Writers))
	return serving(r.t, Start(r.t, cmd))
}

// SIGTERM in mid-drain: what is in flight is finished, every committed row is acknowledged, and
// the rest waits for the next start.
func TestBinary_StopsInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const positions = 50_000
	r.publish(positions)
	binary := build(t)
	w := r.run(binary)
	servertest.Until(t, "some are written", func() bool { return w.metric(`processor_positions_total{outcome="inserted"}`) > 1000 })
	began := time.Now()
	l := w.stop()
	took := time.Since(began)
	t.Logf("stopped within %v after %d positions", took.Round(time.Millisecond), l.Read)
	require.Less(t, took, 5*time.Second)
	require.Less(t, l.Read, positions, "the stop came too late")
	require.Equal(t, fmt.Sprint(l.Inserted), r.rows())
	require.Zero(t, r.pending(), "every committed row is acknowledged")
	require.Empty(t, r.consumers(), "and its name is gone")

	w = r.run(binary)
	r.awaitDrained()
	require.Equal(t, positions-l.Read, w.stop().Inserted)
	r.requireExact()
}

// A second signal ends the process at once, whatever is in flight.
func TestBinary_SecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	direct := r.config
	_, postgres := r.throughProxies()
	w := r.run(build(t))
	servertest.Until(t, "ready", w.ready)
	postgres.Swallow()
	r.publish(1000)
	servertest.Until(t, "entries are in flight", func() bool { return w.metric("processor_entries_in_flight") > 0 })
	w.Signal(syscall.SIGTERM)
	servertest.Until(t, "it is stopping", func() bool {
		return len(w.lines("stopping: no more reads; finishing the batches in flight")) == 1
	})
	require.True(t, w.Running(), "it waits for the database")
	began := time.Now()
	w.Signal(syscall.SIGTERM)
	state := w.Wait()
	require.Less(t, time.Since(began), time.Second)
	require.False(t, state.Success())
	r.config = direct
	postgres.Pass()
	r.finish(nil)
}

// Entries of 200 KB: the memory follows BATCH_BYTES, not BATCH_SIZE, however many there are. Each
// of the WRITERS and the reader has a batch, of which there are up to three copies (Redis's reply,
// the attributes that had to be rewritten, what a buffer was before it grew), and Go lets the heap
// double before it collects.
func TestBinary_MemoryIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	entries := 600
	if full() {
		entries = 3000
	}
	const size, batchBytes = 200 << 10, 16 << 20
	r := newRig(t)
	r.config.BatchSize, r.config.BatchBytes = 5000, batchBytes
	r.publishLarge(entries, size)
	w := r.run(build(t))
	r.awaitDrained()
	peak := w.PeakMemory()
	require.Equal(t, entries, w.stop().Inserted)
	bound := int64((r.config.Writers + 1) * 3 * 2 * batchBytes)
	t.Logf("%d entries of %d KB: %d MB resident at most, bound %d MB", entries, size>>10, peak>>20, bound>>20)
	require.Less(t, peak, bound)
	for some := range slices.Chunk(r.published, 50) { // all of them would be a large array
		require.Empty(t, r.missing(some))
	}
	require.Equal(t, fmt.Sprint(entries), r.rows())
	require.NoError(t, r.redis.Del(t.Context(), r.config.Streams[0]).Err())
}

// Entries of 200 KB right after thousands of small ones, when the worker asks for a thousand at
// once: the reply is given up, its entries are read again in smaller replies, and no outage is reported.
func TestBinary_MemoryIsBoundedWhenEntriesGrow(t *testing.T) {
	t.Parallel()
	const small, large, size, batchBytes = 5000, 300, 200 << 10, 2 << 20
	r := newRig(t)
	r.config.BatchSize, r.config.BatchBytes = 5000, batchBytes
	r.config.MaxDeliveries = 3
	r.publish(small)
	r.publishLarge(large, size)
	w := r.run(build(t))
	r.awaitDrained()
	peak := w.PeakMemory()
	require.NotEmpty(t, w.lines("entries have become large; reading the reply's entries one by one"))
	require.Empty(t, w.lines("stream cannot be read; retrying"))
	require.Equal(t, ledger{Read: small + large, Inserted: small + large, Balanced: true}, w.stop())
	// As above, and what the process has besides batches.
	bound := int64((r.config.Writers+1)*3*2*batchBytes + 32<<20)
	t.Logf("%d MB resident at most, bound %d MB", peak>>20, bound>>20)
	require.Less(t, peak, bound)
	require.Empty(t, r.letters())
	require.Equal(t, fmt.Sprint(small+large), r.rows())
	for _, part := range [][][]byte{r.published[:small], r.published[small : small+50], r.published[small+large-50:]} {
		require.Empty(t, r.missing(part))
	}
	require.NoError(t, r.redis.Del(t.Context(), r.config.Streams[0]).Err())
}

// publishLarge publishes n positions with an attribute of so many bytes.
func (r *rig) publishLarge(n, size int) {
	r.t.Helper()
	noise := strings.Repeat("0123456789abcdef", size/16)
	for range n {
		payload := strings.Replace(string(r.record().Payload), `"attributes":{`, `"attributes":{"999":"`+noise+`",`, 1)
		r.published = append(r.published, []byte(payload))
		r.add(payload)
	}
}
