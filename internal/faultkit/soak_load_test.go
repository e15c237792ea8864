package faultkit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/fleet"
	"processor/internal/stream"
)

// load publishes what a soak stores: positions, repeats of them, further records of the same key,
// and entries that cannot be rows. Its content comes from the seed; how much there is of it
// depends on how long it runs.
type load struct {
	client  redis.UniversalClient
	streams []string
	rng     *rand.Rand
	fleets  []*fleet.Fleet // each covers other days, and so other keys
	kinds   []bad
	millis  int64 // of all ids: the entry n of each stream has the id millis-n

	mu     sync.Mutex
	last   []uint64 // n of the last entry of each stream
	keys   []*soakKey
	recent []*soakKey // those that a repeat may have
	bad    map[string]badEntry
}

// soakKey is one (device_id, ts), and the different records that were published of it.
type soakKey struct {
	raw      string // the payload before a record is made of it
	records  []string
	conflict bool // the second record differs in its values too
}

// badEntry is an entry that must be one dead letter.
type badEntry struct {
	reason  string // empty: any
	payload string
}

// totals counts what was published.
type totals struct{ entries, keys, records, bad int }

func newLoad(client redis.UniversalClient, streams []string, seed uint64) *load {
	l := &load{
		client: client, streams: streams,
		rng:    rand.New(rand.NewPCG(seed, 2)),
		kinds:  everySoakKind(),
		millis: time.Now().UnixMilli(),
		last:   make([]uint64, len(streams)),
		bad:    map[string]badEntry{},
	}
	// Apart by a day, so that the chunks are several.
	for days := range 4 {
		start := time.Now().Add(-time.Duration(24*(days+1)) * time.Hour)
		l.fleets = append(l.fleets, fleet.New(fleet.Options{Devices: 10, Seed: seed, Start: start, Step: time.Second}))
	}
	return l
}

// noPayload is what an entry without the field payload has in a badEntry.
const noPayload = "\x00no payload"

// maxSoakEntry is --max-entry-bytes in the soak.
const maxSoakEntry = 16 << 10

// everySoakKind is everyKind and more.
func everySoakKind() []bad {
	same := func(text string) func(string) string { return func(string) string { return text } }
	return append(everyKind(),
		bad{"not_json", same("[]")},
		bad{"not_json", same("\xff\xfe{}")},
		bad{"not_json", func(good string) string { return good + "x" }},
		bad{"out_of_range", timestamp("yesterday")},
		bad{"out_of_range", replace(`"speed":`, `"speed":-1,"s":`)},
		bad{"out_of_range", replace(`"device_id":"`, `"device_id":"\u0007`)},
		bad{"unstorable_string", func(good string) string {
			return replace(`"attributes":{`, `"attributes":{"999":"\ud800",`)(good)
		}},
		bad{"malformed_sentinel", replace(`"attributes":{`, `"attributes":{"999":{"__buffer_b64":"*"},`)},
		bad{"not_json", same(noPayload)},
		bad{"too_large", func(good string) string {
			return good[:len(good)-1] + `,"beyond":"` + strings.Repeat("x", maxSoakEntry) + `"}`
		}},
	)
}

// record makes record n of a key. Each has an attribute that no other one has, so that each of
// them adds something wherever it comes second, and all of them share one that only a conflicting
// record has another value of.
func record(raw string, n int, conflict bool) string {
	shared := 0
	if conflict {
		shared = n
		raw = replace(`"speed":`, `"speed":123.5,"was":`)(raw)
	}
	return replace(`"attributes":{`, fmt.Sprintf(`"attributes":{"soak_%d":%d,"soak_shared":%d,`, n, n, shared))(raw)
}

// next makes an entry: a payload, and whether it is a bad one.
func (l *load) next() (payload string, badly *badEntry) {
	n := l.rng.IntN(100)
	if len(l.recent) == 0 {
		n = 99
	}
	var key *soakKey
	if len(l.recent) > 0 {
		key = l.recent[l.rng.IntN(len(l.recent))]
	}
	switch {
	case n < 6: // an exact repeat
		return key.records[l.rng.IntN(len(key.records))], nil
	case n < 12 && !key.conflict: // further attributes
		key.records = append(key.records, record(key.raw, len(key.records), false))
	case n < 16 && len(key.records) == 1: // other values
		key.conflict = true
		key.records = append(key.records, record(key.raw, 1, true))
	case n < 21:
		kind := l.kinds[l.rng.IntN(len(l.kinds))]
		payload = kind.make(l.raw())
		return payload, &badEntry{kind.reason, payload}
	default:
		raw := l.raw()
		key = &soakKey{raw: raw, records: []string{record(raw, 0, false)}}
		l.keys = append(l.keys, key)
		l.recent = append(l.recent, key)
		if len(l.recent) > 500 {
			l.recent = l.recent[100:]
		}
	}
	return key.records[len(key.records)-1], nil
}

func (l *load) raw() string {
	return string(l.fleets[l.rng.IntN(len(l.fleets))].Next(time.Time{}).Payload)
}

// run publishes at a pace until ctx ends. What it has made by then is on the streams.
func (l *load) run(ctx context.Context, perSecond int) error {
	lasting := context.WithoutCancel(ctx)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		i, n := l.rng.IntN(len(l.streams)), perSecond/100
		if l.rng.IntN(100) == 0 {
			n = perSecond // half of all comes in bursts
		}
		adds := l.make(i, max(n, 1))
		if err := l.publish(lasting, adds); err != nil {
			return err
		}
	}
}

// make makes n entries of a stream.
func (l *load) make(i, n int) []*redis.XAddArgs {
	l.mu.Lock()
	defer l.mu.Unlock()
	adds := make([]*redis.XAddArgs, n)
	for j := range adds {
		payload, badly := l.next()
		l.last[i]++
		id := stream.ID{Millis: uint64(l.millis), Seq: l.last[i]}.String()
		values := []any{"payload", payload}
		if payload == noPayload {
			values = []any{"nothing", "here"}
		}
		adds[j] = &redis.XAddArgs{Stream: l.streams[i], ID: id, Values: values}
		if badly != nil {
			l.bad[l.streams[i]+" "+id] = *badly
		}
	}
	return adds
}

// publish adds entries of one stream, each exactly once, in a transaction: of a pipeline, a server that has just
// started refuses the first commands (LOADING) and takes the others, whose larger ids the first ones can never follow. The
// ids say whether all are there already after an answer was lost. Redis may be away for a while.
func (l *load) publish(ctx context.Context, adds []*redis.XAddArgs) error {
	first, err := stream.ParseID(adds[0].ID)
	if err != nil {
		return err
	}
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	end := time.Now().Add(deadline)
	for {
		_, err := l.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, add := range adds {
				pipe.XAdd(ctx, add)
			}
			return nil
		})
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("publish to %s: %w", adds[0].Stream, err)
		}
		<-retry.C
		newest, err := l.client.XRevRangeN(ctx, adds[0].Stream, "+", "-", 1).Result()
		if err != nil || len(newest) == 0 {
			continue
		}
		there, err := stream.ParseID(newest[0].ID)
		if err != nil {
			return err
		}
		if first.Compare(there) <= 0 {
			return nil
		}
	}
}

// totals returns the counts so far.
func (l *load) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := totals{keys: len(l.keys), bad: len(l.bad)}
	for _, n := range l.last {
		sum.entries += int(n)
	}
	for _, key := range l.keys {
		sum.records += len(key.records)
	}
	return sum
}

// forget makes further repeats those of keys to come.
func (l *load) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent = nil
}

// back returns the id so many entries before the given one.
func back(id stream.ID, n int) stream.ID {
	id.Seq -= min(id.Seq, uint64(n))
	return id
}

// allowed is the oracle for keys with several records: whichever of them came first gives the
// values and wins where attributes collide, and all others add theirs.
const allowed = `
WITH record AS (
	SELECT
		p->>'device_id' AS device_id, (p->>'timestamp')::timestamptz AS ts, n,
		ROW(
			(p->>'latitude')::float8, (p->>'longitude')::float8, (p->>'altitude')::float4, (p->>'angle')::float4,
			(p->>'speed')::float4, (p->>'satellites')::int2, (p->>'priority')::int2
		) AS fix,
		(SELECT jsonb_object_agg(key, CASE
			WHEN jsonb_typeof(value) <> 'object' THEN value
			WHEN value ? '__bigint' THEN to_jsonb((value->>'__bigint')::numeric)
			WHEN value ? '__buffer_b64' THEN to_jsonb('\x' || encode(decode(value->>'__buffer_b64', 'base64'), 'hex'))
		END) FROM jsonb_each(p->'attributes')) AS attributes
	FROM unnest($1::text[]::jsonb[]) WITH ORDINALITY AS u (p, n)
), others AS (
	SELECT first.n, jsonb_object_agg(a.key, a.value) AS attributes
	FROM record AS first
	JOIN record AS other ON other.device_id = first.device_id AND other.ts = first.ts AND other.n <> first.n
	CROSS JOIN jsonb_each(other.attributes) AS a
	GROUP BY first.n
), allowed AS (
	SELECT device_id, ts, fix, others.attributes || record.attributes AS attributes
	FROM record JOIN others USING (n)
)
SELECT concat_ws(' ', a.device_id, a.ts, CASE WHEN s.device_id IS NULL THEN 'is missing' ELSE 'is none of its ' || count(*) || ' allowed rows: ' || s::text END)
FROM allowed AS a
LEFT JOIN positions AS s ON s.device_id = a.device_id AND s.ts = a.ts
GROUP BY a.device_id, a.ts, s.device_id, s::text
HAVING NOT bool_or((ROW(s.latitude, s.longitude, s.altitude, s.angle, s.speed, s.satellites, s.priority), s.attributes) IS NOT DISTINCT FROM (a.fix, a.attributes))
LIMIT 5`

// TestLoad_IsMadeOnce: the content comes from the seed; every kind of entry is in it; a record of
// a key is published again only as it is or with an attribute that no other record has.
func TestLoad_IsMadeOnce(t *testing.T) {
	t.Parallel()
	const entries = 4000
	one, two := newLoad(nil, []string{"a", "b"}, 5), newLoad(nil, []string{"a", "b"}, 5)
	two.millis = one.millis
	adds := one.make(0, entries)
	for i, add := range two.make(0, entries) {
		if len(add.Values.([]any)[1].(string)) != len(adds[i].Values.([]any)[1].(string)) {
			t.Fatalf("entry %d differs: %v, %v", i, add.Values, adds[i].Values) // but for the time
		}
	}
	sum := one.totals()
	if sum.entries != entries || sum.keys < entries/2 || sum.records <= sum.keys || sum.bad < entries/40 {
		t.Fatalf("%+v", sum)
	}
	reasons := map[string]bool{}
	for _, b := range one.bad {
		reasons[b.reason] = true
	}
	for _, kind := range one.kinds {
		if !reasons[kind.reason] {
			t.Errorf("no bad entry of kind %q", kind.reason)
		}
	}
	conflicts := 0
	for _, key := range one.keys {
		if key.conflict {
			conflicts++
			if len(key.records) != 2 {
				t.Errorf("%d records with a conflict", len(key.records))
			}
		}
		for n, text := range key.records {
			if !strings.Contains(text, fmt.Sprintf(`"soak_%d":%d`, n, n)) {
				t.Errorf("record %d has no distinct attribute: %s", n, text)
			}
		}
	}
	if conflicts == 0 {
		t.Error("no key with a conflict")
	}
}
