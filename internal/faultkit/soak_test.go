package faultkit

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

var (
	soakSeed    = flag.Uint64("soak.seed", 1, "Seed of TestSoak, the same for each change; 0 takes one from the clock.")
	soakMinutes = flag.Float64("soak.minutes", 0.25, "Time that TestSoak causes faults for. Recovery and checks come on top.")
)

// soakRate is the load, in entries a second. The machine is shared.
const soakRate = 300

// soak is several workers, the load that they store, and everything that is done to them.
type soak struct {
	*rig
	seed                      uint64
	server                    *sandbox.Redis
	postgres                  *sandbox.Postgres
	redisProxy, postgresProxy *Proxy
	load                      *load
	faults                    map[string]fault

	slots   []*soakSlot
	workers []*worker // all there ever were
	names   []string  // theirs
	undos   []undo
	// sum adds up the ledgers of the current phase: final ones, and of a killed worker what it
	// showed before.
	sum     ledger
	began   time.Time
	journal []string
}

// soakSlot is the place of a worker.
type soakSlot struct {
	first    string // consumer name at the beginning of the phase
	consumer string
	worker   *worker // nil while it is away
	stopped  bool    // by SIGSTOP
}

type undo struct {
	at   time.Time
	what string
	do   func()
}

// TestSoak does random things to several workers and their servers, from a seed. In the end, the
// rows are what was published, each bad entry is one dead letter, nothing is pending, no loss was
// reported, and the ledgers add up: nothing is counted twice in the first phase, where workers are
// killed and their ledgers lost, and everything is counted once in the second, where none is.
//
//	go test -run TestSoak -timeout 0 ./internal/faultkit -soak.minutes 20 -soak.seed 7
func TestSoak(t *testing.T) {
	t.Parallel()
	length := time.Duration(*soakMinutes * float64(time.Minute))
	if end, ok := t.Deadline(); ok {
		require.Less(t, 2*length, time.Until(end), "-soak.minutes needs a longer -timeout")
	}
	s := newSoak(t, cmp.Or(*soakSeed, uint64(time.Now().UnixNano()%1_000_000)))
	t.Logf("seed %d, minutes %g", s.seed, *soakMinutes)
	s.phase("chaos", chaos(), length*2/3)
	s.checkCountedOnce()
	s.load.forget()
	before := s.load.totals()
	s.sum = ledger{}
	s.phase("gentle", gentle(), length/3)
	s.checkCountedExactly(before)
}

func newSoak(t testing.TB, seed uint64) *soak {
	t.Helper()
	server := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true, ExtraArgs: []string{"--appendfsync", "always"}})
	postgres := servertest.NewPostgres(t)
	s := &soak{
		rig: newRigOn(t, server.URL(), ownDatabase(t, postgres)), seed: seed,
		server: server, postgres: postgres, faults: faults(), began: time.Now(),
	}
	t.Cleanup(s.report)
	s.redisProxy, s.postgresProxy = s.throughProxies()
	s.config.Streams = nil
	for range soakStreams {
		s.config.Streams = append(s.config.Streams, servertest.StreamName(t))
	}
	s.config.ClaimIdle = time.Second
	s.config.ShutdownTimeout = 5 * time.Second
	s.load = newLoad(s.redis, s.config.Streams, seed)
	s.execute(`ALTER TABLE positions ADD CONSTRAINT plausible CHECK (NOT attributes @> '{"999": "refuse me"}')`)
	return s
}

// phase publishes and causes faults for so long, then lets everything recover, stops the workers
// and looks at what is there. On a slower machine fewer actions of the plan take place.
func (s *soak) phase(name string, choices []choice, length time.Duration) {
	s.t.Helper()
	s.note("phase %s", name)
	s.slots = nil
	first := setup{BatchSize: 100, BatchBytes: 16 << 20, Linger: time.Millisecond, Writers: 2}
	for i := range soakWorkers {
		consumer := fmt.Sprintf("%s-%d", name, i)
		s.slots = append(s.slots, &soakSlot{first: consumer, consumer: consumer})
		s.launch(i, first)
	}
	ctx, stop := context.WithCancel(s.t.Context())
	defer stop()
	published := make(chan error, 1)
	go func() { published <- s.load.run(ctx, soakRate) }()
	end := time.Now().Add(length)
	for _, a := range plan(s.seed, choices, length) {
		if time.Now().After(end) {
			break
		}
		s.undo(time.Now())
		s.note("%s", a)
		if undo := s.faults[a.Fault](s, a); undo != nil {
			at := time.Now().Add(a.Hold)
			s.undos = append(s.undos, undoAt(at, a, undo))
		}
		s.pause(a.Wait)
	}
	s.undo(time.Now().Add(time.Hour))
	s.disarm()
	stop()
	require.NoError(s.t, servertest.Within(s.t, published))
	s.note("recovering")
	s.until("all workers are ready", func() bool {
		return !slices.ContainsFunc(s.slots, func(slot *soakSlot) bool { return slot.worker == nil || !slot.worker.ready() })
	})
	s.until("the streams are drained", s.drained)
	s.until("nothing is in flight", func() bool {
		return !slices.ContainsFunc(s.slots, func(slot *soakSlot) bool { return slot.worker.metric("processor_entries_in_flight") != 0 })
	})
	for i := range s.slots {
		require.Zero(s.t, s.terminate(i).InFlight)
	}
	s.checkStored()
}

func undoAt(at time.Time, a action, do func()) undo {
	return undo{at, fmt.Sprintf("end of %s, worker %d", a.Fault, a.Worker), do}
}

// pause waits, and undoes what is due meanwhile.
func (s *soak) pause(wait time.Duration) {
	end := time.Now().Add(wait)
	for {
		next := end
		for _, u := range s.undos {
			if u.at.Before(next) {
				next = u.at
			}
		}
		after(s.t, time.Until(next))
		s.undo(next)
		if !next.Before(end) {
			return
		}
	}
}

// undo ends the faults that last until then, the first one first.
func (s *soak) undo(until time.Time) {
	slices.SortStableFunc(s.undos, func(a, b undo) int { return a.at.Compare(b.at) })
	for len(s.undos) > 0 && !s.undos[0].at.After(until) {
		u := s.undos[0]
		s.undos = s.undos[1:]
		s.note("%s", u.what)
		u.do()
	}
}

// disarm takes traps away.
func (s *soak) disarm() {
	never := Trap{At: func(Frame) bool { return false }}
	s.redisProxy.Set(never)
	s.postgresProxy.Set(never)
}

// launch starts a worker in a slot, under the slot's name.
func (s *soak) launch(i int, with setup) {
	s.t.Helper()
	c := s.config
	c.Consumer = s.slots[i].consumer
	c.BatchSize, c.BatchBytes, c.Linger, c.Writers = with.BatchSize, with.BatchBytes, with.Linger, with.Writers
	c.MaxEntryBytes = maxSoakEntry
	w := startWorker(s.t, c, s.environ)
	s.slots[i].worker, s.slots[i].stopped = w, false
	s.workers, s.names = append(s.workers, w), append(s.names, fmt.Sprintf("%s (%d)", c.Consumer, len(s.workers)+1))
}

// restart starts a worker in the action's slot unless one is there, every other time under a new name.
func (s *soak) restart(a action) {
	slot := s.slots[a.Worker]
	if slot.worker != nil {
		return
	}
	if a.Back%2 == 0 {
		slot.consumer = fmt.Sprintf("%s-%d", slot.first, len(s.workers))
	}
	s.launch(a.Worker, a.Setup)
}

// kill ends a slot's worker with SIGKILL. What it showed last counts as its ledger.
func (s *soak) kill(i int) {
	slot := s.slots[i]
	if slot.worker == nil {
		return
	}
	if !slot.stopped { // else it does not answer
		s.add(ledger{
			Inserted:     int(slot.worker.metric(`processor_positions_total{outcome="inserted"}`)),
			Merged:       int(slot.worker.metric(`processor_positions_total{outcome="merged"}`)),
			DeadLettered: int(slot.worker.metric(`processor_positions_total{outcome="dead_lettered"}`)),
		})
	}
	slot.worker.Kill()
	slot.worker = nil
}

func (s *soak) resume(i int) {
	s.slots[i].worker.Resume()
	s.slots[i].stopped = false
}

// terminate stops a slot's worker in order and adds its ledger, which must balance, to the sum.
func (s *soak) terminate(i int) ledger {
	s.t.Helper()
	slot := s.slots[i]
	if slot.worker == nil {
		return ledger{}
	}
	s.resume(i)
	w := slot.worker
	slot.worker = nil
	w.end()
	l := w.ledger()
	s.add(l)
	return l
}

func (s *soak) add(l ledger) {
	s.sum.Read += l.Read
	s.sum.Inserted += l.Inserted
	s.sum.Merged += l.Merged
	s.sum.Unchanged += l.Unchanged
	s.sum.DeadLettered += l.DeadLettered
}

// do repeats what asks Redis for something until it answers.
func (s *soak) do(what string, ask func() error) {
	s.t.Helper()
	var last error
	s.until(what, func() bool {
		last = ask()
		return last == nil
	})
}

// until is servertest.Until, with room for what several faults at once leave behind.
func (s *soak) until(what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(2 * deadline)
	for !holds() {
		if time.Now().After(end) {
			s.describe()
			require.FailNow(s.t, "waited in vain until: "+what)
		}
		<-tick.C
	}
}

// describe notes what the servers and the workers say of themselves.
func (s *soak) describe() {
	for _, name := range s.config.Streams {
		info, err := stream.Inspect(s.t.Context(), s.redis, name, s.config.Group)
		s.note("%s: %+v %v", name, info, err)
		if info.Group != nil {
			s.note("%s: %+v", name, *info.Group)
		}
	}
	for _, slot := range s.slots {
		if slot.worker != nil && !slot.stopped {
			_, body := slot.worker.get("/readyz")
			s.note("%s: %s in flight %g", slot.consumer, body, slot.worker.metric("processor_entries_in_flight"))
		}
	}
}

// checkStored is what holds after each phase: of rows, dead letters, pending entries and reports of
// losses. It reports everything that does not, not only the first.
func (s *soak) checkStored() {
	s.t.Helper()
	assert.True(s.t, s.drained(), "entries are unread or pending: %d", s.pending())
	sum := s.load.totals()
	s.note("published %+v", sum)
	assert.Empty(s.t, s.wrongRows(), "rows against what was published")
	assert.Equal(s.t, fmt.Sprint(sum.keys), s.rows(), "rows")
	assert.Empty(s.t, s.wrongLetters(), "dead letters against the bad entries")
	for i, w := range s.workers {
		for line := range strings.Lines(w.Log()) {
			loss := strings.Contains(line, `"level":"error"`) && strings.Contains(line, "trimmed")
			crash := strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic: ")
			assert.False(s.t, loss || crash, "%s: nothing was trimmed, and nothing may crash: %s", s.names[i], line)
		}
	}
}

// wrongRows lists the first keys whose row is none that the records of the key allow.
func (s *soak) wrongRows() []string {
	s.t.Helper()
	var single, several [][]byte
	for _, key := range s.load.keys {
		for _, text := range key.records {
			if len(key.records) == 1 {
				single = append(single, []byte(text))
			} else {
				several = append(several, []byte(text))
			}
		}
	}
	for part := range slices.Chunk(single, 5000) {
		if wrong := s.missing(part); len(wrong) > 0 {
			return wrong
		}
	}
	// All records of a key in one part.
	for start := 0; start < len(several); {
		end := min(start+500, len(several))
		for end < len(several) && !strings.Contains(string(several[end]), `"soak_0":`) {
			end++
		}
		if wrong := s.ask(allowed, texts(several[start:end])); len(wrong) > 0 {
			return wrong
		}
		start = end
	}
	return nil
}

// wrongLetters lists the first bad entries that are not exactly one dead letter, with its reason
// and payload, and the first dead letters of other entries.
func (s *soak) wrongLetters() (wrong []string) {
	s.t.Helper()
	found := map[string]int{}
	for _, name := range s.config.Streams {
		letters, err := s.redis.XRange(s.t.Context(), stream.DeadKey(name), "-", "+").Result()
		require.NoError(s.t, err)
		for _, letter := range letters {
			source := fmt.Sprint(name, " ", letter.Values[stream.FieldSourceID])
			found[source]++
			expected, isBad := s.load.bad[source]
			reason := fmt.Sprint(letter.Values[stream.FieldReason])
			payload, has := letter.Values["payload"].(string)
			switch {
			case !isBad:
				wrong = append(wrong, fmt.Sprint(source, " is no bad entry: ", letter.Values))
			case reason != expected.reason:
				wrong = append(wrong, fmt.Sprint(source, " has the reason ", reason, ", not ", expected.reason))
			case expected.reason == "too_large" && has && payload == expected.payload[:4096]:
			case has && payload != expected.payload || !has && expected.payload != noPayload:
				wrong = append(wrong, fmt.Sprint(source, " has another payload"))
			}
		}
	}
	for _, source := range slices.Sorted(maps.Keys(s.load.bad)) {
		if n := found[source]; n != 1 {
			wrong = append(wrong, fmt.Sprintf("%s has %d dead letters (%s)", source, n, s.load.bad[source].reason))
		}
	}
	return wrong[:min(len(wrong), 20)]
}

// checkCountedOnce looks at ledgers of which some are lost, and with them what they counted: a
// row or a dead letter that is counted twice would still show.
func (s *soak) checkCountedOnce() {
	s.t.Helper()
	sum := s.load.totals()
	s.note("ledgers %+v", s.sum)
	assert.LessOrEqual(s.t, s.sum.Inserted, sum.keys, "each row is inserted once")
	assert.LessOrEqual(s.t, s.sum.Merged, sum.records-sum.keys, "each further record is merged once")
	assert.LessOrEqual(s.t, s.sum.DeadLettered, sum.bad, "each dead letter is written once")
}

// checkCountedExactly looks at ledgers of which all are known, of what was published since
// before.
func (s *soak) checkCountedExactly(before totals) {
	s.t.Helper()
	now := s.load.totals()
	s.note("ledgers %+v", s.sum)
	keys, records := now.keys-before.keys, now.records-before.records
	if s.gaveUp() {
		// A slow machine: a commit whose answer came after the shutdown timeout is counted by nobody.
		s.note("a worker gave batches up")
		s.sum.Inserted, s.sum.Merged = max(s.sum.Inserted, keys), max(s.sum.Merged, records-keys)
	}
	assert.Equal(s.t,
		map[string]int{"inserted": keys, "merged": records - keys, "dead_lettered": now.bad - before.bad},
		map[string]int{"inserted": s.sum.Inserted, "merged": s.sum.Merged, "dead_lettered": s.sum.DeadLettered})
	assert.GreaterOrEqual(s.t, s.sum.Read, now.entries-before.entries)
}

// gaveUp reports whether a worker of this phase stopped with batches in flight.
func (s *soak) gaveUp() bool {
	for i, w := range s.workers {
		if strings.HasPrefix(s.names[i], "gentle") && strings.Contains(w.Log(), "batch given up") {
			return true
		}
	}
	return false
}

func (s *soak) note(format string, args ...any) {
	s.journal = append(s.journal, fmt.Sprintf("%8.3f ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

// report prints what is needed to repeat and to understand a run that failed.
func (s *soak) report() {
	if !s.t.Failed() {
		s.t.Logf("%d workers, %+v", len(s.workers), s.load.totals())
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "repeat with: go test -run TestSoak -timeout 0 ./internal/faultkit -soak.minutes %g -soak.seed %d\nbegan %s; seconds since then:\n",
		*soakMinutes, s.seed, s.began.UTC().Format(time.RFC3339Nano))
	for _, line := range s.journal {
		fmt.Fprintln(&b, line)
	}
	for i, w := range s.workers {
		fmt.Fprintf(&b, "--- %s, running %t\n", s.names[i], w.Running())
		lines := slices.Collect(strings.Lines(w.Log()))
		for _, line := range lines[max(0, len(lines)-15):] {
			fmt.Fprintf(&b, "%.600s\n", strings.TrimSpace(line))
		}
	}
	s.t.Log(b.String())
}
