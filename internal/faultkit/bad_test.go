package faultkit

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// bad makes an entry that cannot be a row, from a position that could.
type bad struct {
	reason string
	make   func(good string) string
}

func replace(old, new string) func(string) string {
	return func(good string) string { return strings.Replace(good, old, new, 1) }
}

// timestamp puts another one into a payload.
func timestamp(text string) func(string) string {
	return func(good string) string {
		before, rest, _ := strings.Cut(good, `"timestamp":"`)
		_, behind, _ := strings.Cut(rest, `"`)
		return before + `"timestamp":"` + text + `"` + behind
	}
}

// everyKind is a bad entry of each kind: what cannot be decoded, what lies outside of the time
// window, and what only the database refuses.
func everyKind() []bad {
	attribute := func(text string) func(string) string {
		return replace(`"attributes":{`, `"attributes":{"999":`+text+`,`)
	}
	return []bad{
		{"not_json", func(string) string { return "hello" }},
		{"not_json", func(good string) string { return good[:len(good)-1] }},
		{"missing_key", replace(`"speed"`, `"velocity"`)},
		{"wrong_type", replace(`"latitude":`, `"latitude":"x","l":`)},
		{"out_of_range", replace(`"priority":`, `"priority":300,"p":`)},
		{"malformed_sentinel", attribute(`{"__bigint":"x"}`)},
		{"unstorable_string", attribute(`"\u0000"`)},
		{"unstorable_number", attribute(`1e200000`)},
		{"too_deep", attribute(strings.Repeat("[", 70) + strings.Repeat("]", 70))},
		{"timestamp_out_of_window", timestamp("1970-01-01T00:00:00.000Z")},
		{"timestamp_out_of_window", timestamp(time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339))},
		{"rejected_by_database", attribute(`"refuse me"`)},
	}
}

// Sixty bad entries of every kind among ten thousand good ones: each is a dead letter with its
// reason, and every good one lands. At full length, on an otherwise idle machine, the drain takes
// less than half as long again as without them; beside other tests a time proves nothing.
func TestBad_EntriesStandAlone(t *testing.T) {
	const good, times = 10_000, 5
	kinds := everyKind()
	if !full() {
		drainWith(t, good, kinds, times)
		return
	}
	// A machine that others use is slow for a while, then fast: only drains that follow each other
	// compare, and of many such pairs the one in the middle.
	var ratios []float64
	for range 15 {
		clean := drainWith(t, good, nil, 0)
		mixed := drainWith(t, good, kinds, times)
		ratios = append(ratios, mixed.Seconds()/clean.Seconds())
		t.Logf("%v without bad entries, %v with %d: %.2f times as long",
			clean.Round(time.Millisecond), mixed.Round(time.Millisecond), times*len(kinds), ratios[len(ratios)-1])
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	t.Logf("%.2f times as long in the median, %.2f to %.2f", median, ratios[0], ratios[len(ratios)-1])
	require.Less(t, median, 1.5)
}

// drainWith publishes good positions with bad entries among them, and returns how long a worker
// takes for them.
func drainWith(t *testing.T, good int, kinds []bad, times int) time.Duration {
	t.Helper()
	r := newRig(t)
	r.config.BatchSize, r.config.Writers = 2500, 0 // as they are by default
	r.execute(`ALTER TABLE positions ADD CONSTRAINT plausible CHECK (NOT attributes @> '{"999": "refuse me"}')`)
	letters, refused := []string{}, 0
	parts := max(times*len(kinds), 1)
	for i := range parts {
		r.publish(good / parts)
		if len(kinds) == 0 {
			continue
		}
		kind := kinds[i%len(kinds)]
		letters = append(letters, kind.reason+" "+r.add(kind.make(string(r.record().Payload))))
		if kind.reason == "rejected_by_database" {
			refused++
		}
	}
	r.publish(good - len(r.published))
	w := r.start()
	began := time.Now()
	r.awaitDrained()
	took := time.Since(began)
	l := w.stop()
	require.Equal(t, ledger{Read: good + len(letters), Inserted: good, DeadLettered: len(letters), Balanced: true}, l)
	r.requireExact(letters...)
	r.requireDetails(refused)
	return took
}

// requireDetails looks at what the database's own refusals say.
func (r *rig) requireDetails(refused int) {
	r.t.Helper()
	entries, err := r.redis.XRange(r.t.Context(), stream.DeadKey(r.config.Streams[0]), "-", "+").Result()
	require.NoError(r.t, err)
	n := 0
	for _, e := range entries {
		require.NotEmpty(r.t, e.Values["payload"], "the whole entry is kept")
		require.NotEmpty(r.t, e.Values[stream.FieldDetail])
		if e.Values[stream.FieldReason] == "rejected_by_database" {
			n++
			require.Equal(r.t, "23514", e.Values[stream.FieldSQLState])
			require.Contains(r.t, e.Values[stream.FieldDetail], "plausible")
		}
	}
	require.Equal(r.t, refused, n)
}

// Something else stands where dead letters go. They are not lost with the acknowledgement: the
// entries stay pending until the place is free.
func TestBad_DeadLettersCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dead := stream.DeadKey(r.config.Streams[0])
	require.NoError(t, r.redis.Set(t.Context(), dead, "no stream", 0).Err())
	letters := r.publishWithBad(100, 1)
	w := r.start()
	servertest.Until(t, "it was tried more than once", func() bool { return w.metric("processor_ack_errors_total") > 1 })
	require.Len(t, w.lines("dead letters cannot be written; retrying"), 1)
	servertest.Until(t, "the others are rows", func() bool { return r.rows() == "100" })
	w.Kill()
	require.NotZero(t, r.pending(), "the entry is still there")
	require.NoError(t, r.redis.Del(t.Context(), dead).Err())
	r.finish(letters)
}

// Redis has no memory left for dead letters: nothing is acknowledged without its copy.
func TestBad_NoMemoryForDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, servertest.NewRedis(t, sandbox.RedisOptions{}).URL(), servertest.Migrated(t))
	letters := r.publishWithBad(100, 1)
	require.NoError(t, r.redis.XGroupCreate(t.Context(), r.config.Streams[0], r.config.Group, "0").Err())
	require.NoError(t, r.redis.ConfigSet(t.Context(), "maxmemory", "1").Err())
	w := r.start()
	servertest.Until(t, "it was tried more than once", func() bool { return w.metric("processor_ack_errors_total") > 1 })
	require.Len(t, w.lines("dead letters cannot be written; retrying"), 1)
	require.Positive(t, r.pending(), "the entry is still there")
	servertest.Until(t, "the others are rows", func() bool { return r.rows() == "100" })
	require.NoError(t, r.redis.ConfigSet(t.Context(), "maxmemory", "0").Err())
	r.awaitDrained()
	w.stop()
	r.requireExact(letters...)
}
