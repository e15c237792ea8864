package faultkit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// addFields adds an entry with these fields to the first stream.
func (r *rig) addFields(fields ...any) (id string) {
	r.t.Helper()
	id, err := r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.config.Streams[0], Values: fields}).Result()
	require.NoError(r.t, err)
	return id
}

// Entries far beyond --max-entry-bytes, of every shape and all at once: each is a dead letter with its size,
// and the worker's memory stays where it is with small ones.
func TestLarge_MemoryIsBoundedWhateverIsOnTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	payload := func(attribute string) string {
		return strings.Replace(string(r.record().Payload), `"attributes":{`, `"attributes":{"999":`+attribute+`,`, 1)
	}
	r.publish(1000)
	var manyFields []any
	for i := range 500_000 {
		manyFields = append(manyFields, fmt.Sprint("f", i), "")
	}
	large := map[string]string{} // id -> shape
	large[r.add(payload("["+strings.Repeat("1,", 16_000_000)+"1]"))] = "32 MB of numbers"
	large[r.add(payload(`"`+strings.Repeat("x", 160<<20)+`"`))] = "a string of 160 MB"
	large[r.add(strings.Repeat("[", 32<<20))] = "32 MB that are no JSON"
	large[r.addFields("device_id", strings.Repeat("d", 32<<20), "payload", string(r.record().Payload))] = "a long device_id"
	large[r.addFields(strings.Repeat("n", 32<<20), "v", "payload", string(r.record().Payload))] = "a long field name"
	large[r.addFields(append(manyFields, "payload", string(r.record().Payload))...)] = "half a million fields"
	r.publish(1000)
	binary := build(t)
	w := r.run(binary)
	r.awaitDrained()
	peak := w.PeakMemory()
	t.Logf("%d MB resident at most", peak>>20)
	require.Less(t, peak, int64(96<<20))
	require.Equal(t, ledger{Read: 2000 + len(large), Inserted: 2000, DeadLettered: len(large), Balanced: true}, w.stop())
	var want []string
	for id := range large {
		want = append(want, "too_large "+id)
	}
	r.requireExact(want...)
	letters, err := stream.DeadLetters(t.Context(), r.redis, r.config.Streams[0], stream.ID{}, stream.ID{Millis: 1 << 62})
	require.NoError(t, err)
	for _, l := range letters {
		require.Contains(t, l.Detail, l.SourceID)
		require.Regexp(t, `has [0-9]{7,9} bytes`, l.Detail)
		require.NotEmpty(t, l.Value("payload"), large[l.SourceID])
		require.LessOrEqual(t, len(l.Value("payload")), 4096)
	}
	require.NoError(t, r.redis.Del(t.Context(), r.config.Streams[0]).Err())
}

// The largest payloads that are allowed, of every shape: each is a row or a dead letter, and whatever it is,
// the server is not asked again and again.
func TestLarge_EveryAllowedPayloadIsDecided(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const room = 1<<20 - 1000 // the contract's other keys
	fill := func(unit string) string { return strings.Repeat(unit, room/len(unit)) }
	var keys strings.Builder
	for i := 0; keys.Len() < room-20; i++ {
		fmt.Fprintf(&keys, `"%d":1,`, 100_000+i)
	}
	attributes := map[string]string{
		"numbers":         `"1":[` + fill("1,") + "1]",
		"long numbers":    `"1":[` + fill(strings.Repeat("9", 999)+",") + "1]",
		"fractions":       `"1":[` + fill("0.1,") + "1]",
		"one number":      `"1":` + fill("9"),
		"one string":      `"1":"` + fill("x") + `"`,
		"escapes":         `"1":"` + fill(`\u00e9`) + `"`,
		"strings":         `"1":[` + fill(`"",`) + `""]`,
		"nested arrays":   `"1":[` + fill(strings.Repeat("[", 60)+strings.Repeat("]", 60)+",") + "1]",
		"nested objects":  `"1":[` + fill(strings.Repeat(`{"a":`, 60)+"1"+strings.Repeat("}", 60)+",") + "1]",
		"empty objects":   `"1":[` + fill("{},") + "1]",
		"keys":            keys.String() + `"1":1`,
		"one key":         `"` + fill("k") + `":1`,
		"the same key":    fill(`"k":1,`) + `"1":1`,
		"bigints":         `"1":[` + fill(`{"__bigint":"9"},`) + "1]",
		"one bigint":      `"1":{"__bigint":"` + fill("9") + `"}`,
		"buffers":         `"1":[` + fill(`{"__buffer_b64":""},`) + "1]",
		"one buffer":      `"1":{"__buffer_b64":"` + fill("AAAA") + `"}`,
		"large exponents": `"1":[` + fill("1e308,") + "1]",
		"literals":        `"1":[` + fill("null,") + "1]",
	}
	shapes := map[string]string{}
	for name, text := range attributes {
		good := string(r.record().Payload)
		before, rest, _ := strings.Cut(good, `"attributes":{`)
		_, after, _ := strings.Cut(rest, "}")
		payload := before + `"attributes":{` + text + "}" + after[strings.LastIndexByte(after, '}'):]
		require.Less(t, len(payload), 1<<20, name)
		shapes[r.add(payload)] = name
	}
	w := r.start()
	servertest.Until(t, "all are decided", r.drained)
	l := w.stop()
	require.Equal(t, len(shapes), l.Inserted+l.DeadLettered, "%+v", l)
	for _, letter := range r.letters() {
		reason, id, _ := strings.Cut(letter, " ")
		t.Log(shapes[id], "is", reason)
	}
	require.Equal(t, fmt.Sprint(l.Inserted), r.rows())
}

// Redis closes connections whose reply goes beyond its output buffer limit: the worker asks for fewer
// entries, names the setting, and drains the stream.
func TestLarge_RepliesBeyondTheOutputBufferLimit(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, servertest.NewRedis(t, sandbox.RedisOptions{}).URL(), servertest.Migrated(t))
	r.publishLarge(200, 50<<10)
	require.NoError(t, r.redis.ConfigSet(t.Context(), "client-output-buffer-limit", "normal 1mb 1mb 0").Err())
	w := r.start()
	r.awaitDrained()
	warned := w.lines("reply broke off; asking for fewer entries")
	require.Len(t, warned, 1)
	require.Contains(t, warned[0]["hint"], "client-output-buffer-limit")
	require.Equal(t, ledger{Read: 200, Inserted: 200, Balanced: true}, w.stop())
	r.requireExact()
}

// A single entry that is larger than the output buffer limit cannot be read: that stream is not ready and says
// why, others go on, and it goes on by itself once the limit is raised.
func TestLarge_EntryBeyondTheOutputBufferLimit(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, servertest.NewRedis(t, sandbox.RedisOptions{}).URL(), servertest.Migrated(t))
	held := r.config.Streams[0]
	r.config.Streams = append(r.config.Streams, held+"-other")
	r.config.MaxDeliveries = 1000
	r.publish(100)
	r.publishLarge(1, 600<<10)
	r.publish(100)
	require.NoError(t, r.redis.ConfigSet(t.Context(), "client-output-buffer-limit", "normal 300kb 300kb 0").Err())
	w := r.start()
	servertest.Until(t, "the stream is not ready", func() bool {
		return strings.Contains(w.failing("stream "+held), "client-output-buffer-limit")
	})
	r.publishTo(r.config.Streams[1], 500)
	servertest.Until(t, "the other stream goes on", func() bool { return r.rows() == "600" })
	require.NoError(t, r.redis.ConfigSet(t.Context(), "client-output-buffer-limit", "normal 0 0 0").Err())
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)
	w.stop()
	r.requireExact()
}

// A slow link delays entries, and stops nothing: no reply is given up because it takes long, and what is
// given up is asked for in parts.
func TestLarge_SlowLink(t *testing.T) {
	cases := map[string]struct{ rate, entries, size int }{
		"4 MB/s, 16 KB entries":    {4 << 20, 1500, 16 << 10},
		"400 KB/s, 16 KB entries":  {400 << 10, 250, 16 << 10},
		"200 KB/s, 1 MB entries":   {200 << 10, 1, 1000 << 10},
		"100 KB/s, 200 KB entries": {100 << 10, 8, 200 << 10}, // several in one reply take too long
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.config.BatchSize = 2500
			proxied, _ := r.throughProxies()
			proxied.Throttle(c.rate)
			r.publishLarge(c.entries, c.size)
			w := r.start()
			r.awaitDrained()
			require.True(t, w.alive())
			require.Equal(t, ledger{Read: c.entries, Inserted: c.entries, Balanced: true}, w.stop())
			require.Equal(t, fmt.Sprint(c.entries), r.rows())
			require.Empty(t, r.letters())
			require.NoError(t, r.redis.Del(t.Context(), r.config.Streams[0]).Err())
		})
	}
}

// Dead letters of a megabyte each over a slow link take longer than a command's timeout.
func TestLarge_DeadLettersOverASlowLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	proxied, _ := r.throughProxies()
	var want []string
	for range 8 {
		want = append(want, "not_json "+r.add(strings.Repeat("x", 1000<<10)))
	}
	proxied.Throttle(2 << 20)
	w := r.start()
	r.awaitDrained()
	require.Zero(t, w.metric("processor_ack_errors_total"), "nothing is repeated")
	w.stop()
	r.requireExact(want...)
	require.NoError(t, r.redis.Del(t.Context(), r.config.Streams[0]).Err())
}

// The connection breaks in the middle of a reply, whatever was asked.
func TestLarge_ReplyIsCutInItsMiddle(t *testing.T) {
	cases := map[string]struct {
		at      Moment
		another bool // the entries are pending for another consumer
		after   int
	}{
		"new entries":           {third(Read), false, 20_000},
		"new entries, at once":  {third(Read), false, 1},
		"entries waited for":    {blocked, false, 300},
		"pending entries":       {Command("XREADGROUP", "GROUP", "processor", "me", "COUNT", "16", "STREAMS"), true, 2000},
		"entries taken over":    {Command("XAUTOCLAIM"), true, 2000},
		"entries taken over, 1": {Command("XAUTOCLAIM"), true, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.config.ClaimIdle = time.Second
			proxied, _ := r.throughProxies()
			r.publish(1000)
			if c.another {
				consumer := "another"
				if strings.HasPrefix(name, "pending") {
					consumer = "me"
				}
				require.NoError(t, r.redis.XGroupCreate(t.Context(), r.config.Streams[0], "processor", "0").Err())
				require.NoError(t, r.redis.XReadGroup(t.Context(), &redis.XReadGroupArgs{
					Group: "processor", Consumer: consumer, Streams: []string{r.config.Streams[0], ">"}, Count: 500,
				}).Err())
			}
			sprung := proxied.Set(Trap{At: c.at, After: c.after})
			w := r.start()
			if name == "entries waited for" {
				r.awaitDrained()
				servertest.Until(t, "it is cut", func() bool {
					r.publish(10)
					select {
					case <-sprung:
						return true
					default:
						return false
					}
				})
			}
			servertest.Within(t, sprung)
			r.awaitDrained()
			w.stop()
			r.requireExact()
		})
	}
}

// blocked is a read that waits for entries.
func blocked(f Frame) bool {
	return f.Name == "XREADGROUP" && len(f.Args) > 5 && f.Args[5] == "BLOCK"
}
