package faultkit

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/pipeline"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// One of two replicas is stopped for longer than --claim-idle with batches in flight, and goes on
// when the other one has long written them: every position is one row, and both ledgers balance.
func TestReplica_StopsAndGoesOn(t *testing.T) {
	for _, step := range []pipeline.Step{pipeline.Read, pipeline.Decoded, pipeline.Committed, pipeline.Observed} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.config.ClaimIdle = time.Second
			letters := r.publishWithBad(1000, 10)
			first := r.start(hangs(step, 3))
			first.AwaitPause()
			inFlight := r.pending()
			require.Positive(t, inFlight)

			r.config.Consumer = "other"
			second := r.start()
			r.awaitDrained()
			r.requireExact(letters...)
			require.Equal(t, float64(inFlight), second.metric("processor_claimed_total"))

			first.Resume()
			r.publish(1000)
			r.awaitDrained()
			servertest.Until(t, "the first one is through", func() bool { return first.metric("processor_entries_in_flight") == 0 })
			servertest.Until(t, "both are ready", func() bool { return first.ready() && second.ready() })
			one, two := first.stop(), second.stop()
			entries := 2000 + len(letters)
			require.GreaterOrEqual(t, one.Read+two.Read, entries)
			require.Equal(t, 2000, one.Inserted+two.Inserted, "each position is one row")
			require.Equal(t, len(letters), one.DeadLettered+two.DeadLettered, "each dead letter is counted by its writer")
			require.Equal(t, one.Read+two.Read-entries, one.Unchanged+two.Unchanged+one.DeadLettered+two.DeadLettered-len(letters),
				"what was read twice changed nothing: %+v %+v", one, two)
			r.requireExact(letters...)
		})
	}
}

// Replicas come and go, with and without leaving things behind: what they leave is taken over,
// and what holds nothing is not in the group for long.
func TestReplica_LeavesItsPendingEntries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.ClaimIdle = time.Second
	r.publish(1000)
	for i := range 3 {
		r.config.Consumer = fmt.Sprint("gone-", i)
		w := r.start(dies(pipeline.Read, 2))
		w.dead()
	}
	left := r.pending()
	require.Positive(t, left)
	require.Len(t, r.consumers(), 3)

	r.config.Consumer = "last"
	w := r.start()
	r.awaitDrained()
	require.Equal(t, float64(left), w.metric("processor_claimed_total"))
	require.Len(t, r.consumers(), 4, "they hold nothing any more, and are only removed when they are silent for an hour")
	w.stop()
	require.Len(t, r.consumers(), 3, "its own name went with it")
	r.requireExact()
}

// The host of a replica is gone in the middle of a COPY. PostgreSQL knows only when TCP's
// keepalive says so, and until then that session has its rows locked: who took the entries over
// waits for it, and goes on when somebody ends the session.
func TestReplica_HostIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.WriteTimeout, r.config.ClaimIdle = time.Second, time.Second
	r.config.BatchSize = 1000 // enough that the server writes before it has all of them
	direct := r.config
	_, postgres := r.throughProxies()
	r.publish(1000)
	sprung := postgres.Set(Trap{At: Commit, Vanish: true})
	r.config.Consumer = "lost"
	lost := r.start()
	servertest.Within(t, sprung)
	lost.Kill()

	r.config = direct
	w := r.start()
	servertest.Until(t, "it waits", func() bool { return w.metric(`processor_write_errors_total{class="unavailable"}`) > 1 })
	require.Empty(t, r.letters())
	require.Len(t, w.lines(held), 1)
	// As docs/failures.md says.
	r.execute(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'processor' AND state = 'active' AND wait_event = 'ClientRead' AND datname = current_database()`)
	r.awaitDrained()
	w.stop()
	r.requireExact()
}

// Somebody tidies up all the time while a consumer reads and acknowledges: it may be removed in
// between, but never with an entry that it holds, for which Redis would forget that it is pending.
func TestReplica_IsNeverRemovedWithAnEntry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	name := r.config.Streams[0]
	busy := stream.NewConsumer(r.redis, name, r.config.Group, "busy")
	tidy := stream.NewConsumer(r.redis, name, r.config.Group, "tidy")
	_, err := busy.EnsureGroup(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, busy.Close()) })
	ctx, stop := context.WithCancel(t.Context())
	removed := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			gone, _ := tidy.RemoveGone(ctx, 0)
			n += len(gone)
		}
		removed <- n
	}()
	for range 2000 {
		r.add("x")
		var b stream.Batch
		n, err := busy.ReadNew(t.Context(), &b, 1, 0, nil)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		acknowledged, err := busy.Ack(t.Context(), []stream.ID{b.Entries[0].ID})
		require.NoError(t, err)
		require.Equal(t, 1, acknowledged, "it was pending")
	}
	stop()
	require.Positive(t, servertest.Within(t, removed))
}

func (r *rig) consumers() []string {
	r.t.Helper()
	infos, err := r.redis.XInfoConsumers(r.t.Context(), r.config.Streams[0], r.config.Group).Result()
	require.NoError(r.t, err)
	var names []string
	for _, c := range infos {
		names = append(names, c.Name)
	}
	return names
}

// refuse makes the server fail for a reason that the worker has no rule for, at the device "odd".
const refuse = `
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.device_id = 'odd' THEN RAISE EXCEPTION 'somebody''s trigger says no' USING ERRCODE = '%s'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`

// An entry that was delivered over and over, and fails alone for a reason of its own, becomes a
// dead letter in the end; for a reason or a limit of the server it never does.
func TestReplica_DeliveredTooOften(t *testing.T) {
	cases := map[string]struct {
		state  string
		letter bool
	}{
		"no rule for the error":  {"P0001", true},
		"limit of the server":    {"57014", false},
		"server not available":   {"53300", false},
		"schema or rights wrong": {"42501", false},
		"the row is at fault":    {"22000", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.config.MaxDeliveries = 2
			r.execute(fmt.Sprintf(refuse, c.state))
			r.publish(10)
			odd := r.record()
			payload := strings.Replace(string(odd.Payload), odd.DeviceID, "odd", 1)
			id := r.add(payload)
			r.publish(10)
			// A worker that dies with it, twice; the count is Redis's own.
			for range 2 {
				r.start(dies(pipeline.Decoded, 1)).dead()
			}
			w := r.start()
			if !c.letter {
				servertest.Until(t, "all others are there, and it waits", func() bool { return r.rows() == "20" && len(w.lines(held))+len(w.lines(alone)) == 1 })
				r.execute(`DROP TRIGGER refuse ON positions`)
				r.published = append(r.published, []byte(payload))
				r.awaitDrained()
				w.stop()
				r.requireExact()
				return
			}
			r.awaitDrained()
			require.Equal(t, ledger{Read: 21, Inserted: 20, DeadLettered: 1, Balanced: true}, w.stop())
			reason := "delivered_too_often "
			if c.state == "22000" {
				reason = "rejected_by_database "
			}
			r.requireExact(reason + id)
		})
	}
}

// Entries are trimmed while the worker is down, before they were read or after: they are counted
// as lost, once, and it goes on.
func TestReplica_EntriesAreTrimmed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(300)
	r.start(dies(pipeline.Read, 1)).dead() // before anything is written
	pending := int(r.pending())
	require.Positive(t, pending)
	r.publish(700)
	// What was read is gone, and some of what was not.
	require.NoError(t, r.redis.XTrimMaxLen(t.Context(), r.config.Streams[0], 500).Err())
	r.published = r.published[500:]

	r.config.ClaimIdle = time.Second
	one := r.start()
	r.config.Consumer = "other" // looks at the same stream: the loss is counted once
	two := r.start()
	r.awaitDrained()
	sum := func(metric string) float64 { return one.metric(metric) + two.metric(metric) }
	servertest.Until(t, "both losses are counted", func() bool {
		return sum("processor_trimmed_unread_total") > 0 && sum("processor_lost_pending_total") >= float64(pending)
	})
	require.Equal(t, float64(500-pending), sum("processor_trimmed_unread_total"))
	require.Equal(t, float64(pending), sum("processor_lost_pending_total"))
	logs := one.Log() + two.Log()
	require.Equal(t, 1, strings.Count(logs, lostUnread))
	require.Contains(t, logs, "pending entries were trimmed from the stream")
	require.Equal(t, 500, one.stop().Inserted+two.stop().Inserted)
	r.requireExact()
}

const lostUnread = "entries were trimmed from the stream before they were read; they are lost"

// A stream is trimmed again and again under workers that lag behind: what they did not get is
// counted to the last entry, over both of them.
func TestReplica_IsTrimmedAsItLags(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := r.start()
	r.config.Consumer = "other"
	two := r.start()
	servertest.Until(t, "both are ready", func() bool { return one.ready() && two.ready() })
	conn := servertest.Connect(t, r.database)
	const rounds, each, kept = 10, 2000, 300
	for range rounds {
		_, err := conn.Exec(t.Context(), `BEGIN; LOCK TABLE positions IN EXCLUSIVE MODE`)
		require.NoError(t, err)
		r.publish(each) // more than both of them have room for
		require.NoError(t, r.redis.XTrimMaxLen(t.Context(), r.config.Streams[0], kept).Err())
		_, err = conn.Exec(t.Context(), `COMMIT`)
		require.NoError(t, err)
	}
	r.awaitDrained()
	sum := func(metric string) int { return int(one.metric(metric) + two.metric(metric)) }
	servertest.Until(t, "every loss is counted", func() bool {
		return sum("processor_trimmed_unread_total")+sum(`processor_positions_total{outcome="inserted"}`) >= rounds*each
	})
	lost := sum("processor_trimmed_unread_total")
	t.Logf("%d of %d entries were trimmed unread", lost, rounds*each)
	require.Positive(t, lost)
	require.Zero(t, sum("processor_lost_pending_total"), "what was in flight became rows")
	require.Equal(t, rounds*each-lost, one.stop().Inserted+two.stop().Inserted)
	require.Equal(t, fmt.Sprint(rounds*each-lost), r.rows())
	said := 0
	for _, line := range append(one.lines(lostUnread), two.lines(lostUnread)...) {
		said += int(line["entries"].(float64))
	}
	require.Equal(t, lost, said, "the log tells of every one")
}

// Entries in flight are trimmed: they are in the worker's memory and become rows, so they are not
// reported as lost, although Redis takes them off the pending list.
func TestReplica_EntriesInFlightAreTrimmed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.ClaimIdle = time.Second
	conn := servertest.Connect(t, r.database)
	_, err := conn.Exec(t.Context(), `BEGIN; LOCK TABLE positions IN EXCLUSIVE MODE`)
	require.NoError(t, err)
	r.publish(r.config.BatchSize) // a full read: the reader goes on beside it
	w := r.start()
	servertest.Until(t, "all are in flight", func() bool { return w.metric("processor_entries_in_flight") == float64(r.config.BatchSize) })
	require.NoError(t, r.redis.XTrimMaxLen(t.Context(), r.config.Streams[0], 0).Err())
	servertest.Until(t, "XAUTOCLAIM has found them gone", func() bool { return r.pending() == 0 })
	_, err = conn.Exec(t.Context(), `COMMIT`)
	require.NoError(t, err)
	servertest.Until(t, "they are rows", func() bool { return w.metric("processor_entries_in_flight") == 0 })
	require.Zero(t, w.metric("processor_lost_pending_total"))
	require.NotContains(t, w.Log(), `"level":"error"`)
	require.Equal(t, ledger{Read: r.config.BatchSize, Inserted: r.config.BatchSize, Balanced: true}, w.stop())
	r.requireExact()
}
