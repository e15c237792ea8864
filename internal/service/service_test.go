package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
	"processor/internal/observe"
	"processor/internal/pipeline"
	"processor/internal/servertest"
	"processor/internal/stream"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// rig is one Redis, one database and the streams of a test.
type rig struct {
	t      testing.TB
	client redis.UniversalClient
	config Config
	stream string
	log    *servertest.Log
}

func newRig(t testing.TB) *rig {
	return newRigOn(t, servertest.Redis(t), servertest.Migrated(t))
}

func newRigOn(t testing.TB, redisURL, databaseURL string) *rig {
	name := servertest.StreamName(t)
	client, err := stream.Connect(redisURL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return &rig{t: t, client: client, stream: name, log: &servertest.Log{}, config: Config{
		Redis:           Redis{URL: redisURL},
		Database:        Database{URL: databaseURL},
		Streams:         []string{name},
		Group:           "processor",
		Consumer:        "me",
		BatchSize:       500,
		BatchBytes:      16 << 20,
		Linger:          5 * time.Millisecond,
		Writers:         4,
		WriteTimeout:    30 * time.Second,
		DeviceCacheSize: 1000,
		ClaimIdle:       time.Minute,
		MaxDeliveries:   10,
		HTTPAddr:        "127.0.0.1:0",
		ShutdownTimeout: 20 * time.Second,
	}}
}

// start runs a worker; stop ends it and returns when it is through.
func (r *rig) start() (s *Service, stop func()) { return r.startWith(nil) }

func (r *rig) startWith(listeners map[string]pipeline.Listener) (s *Service, stop func()) {
	logger := observe.NewLogger(r.log, -4)
	s, err := New(r.t.Context(), r.config, observe.BuildInfo{Version: "test"}, logger)
	require.NoError(r.t, err)
	for name, l := range listeners {
		s.Listen(name, l)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(r.t, servertest.Within(r.t, done))
		})
	}
	r.t.Cleanup(stop)
	return s, stop
}

// publish adds n positions of a fleet and returns them.
func (r *rig) publish(n, devices int) []fleet.Record {
	f := fleet.New(fleet.Options{Devices: devices, Seed: 1, Start: time.Now().Add(-time.Hour), Step: time.Second})
	records := make([]fleet.Record, n)
	for i := range records {
		records[i] = f.Next(time.Time{})
	}
	require.NoError(r.t, fleet.NewPublisher(r.client, r.stream, 0).Publish(r.t.Context(), records...))
	return records
}

func (r *rig) add(payload string) string {
	id, err := r.client.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.stream, Values: []any{"payload", payload}}).Result()
	require.NoError(r.t, err)
	return id
}

func (r *rig) sql(statement string) {
	r.t.Helper()
	servertest.Execute(r.t, r.config.Database.URL, statement)
}

func (r *rig) ask(query string, args ...any) []string {
	r.t.Helper()
	return servertest.Ask(r.t, r.config.Database.URL, query, args...)
}

func (r *rig) rows() string { return r.ask("SELECT count(*)::text FROM positions")[0] }

func (r *rig) pending() int64 {
	p, err := r.client.XPending(r.t.Context(), r.stream, r.config.Group).Result()
	require.NoError(r.t, err)
	return p.Count
}

// dead lists the dead letters as "reason: source id".
func (r *rig) dead() []string {
	entries, err := r.client.XRange(r.t.Context(), stream.DeadKey(r.stream), "-", "+").Result()
	require.NoError(r.t, err)
	letters := []string{}
	for _, e := range entries {
		letters = append(letters, fmt.Sprint(e.Values[stream.FieldReason], ": ", e.Values[stream.FieldSourceID]))
	}
	return letters
}

func (r *rig) get(s *Service, path string) (int, string) {
	resp, err := http.Get("http://" + s.Addr() + path)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, string(body)
}

// metric returns the value of the one series with the name (and the stream, where it has one).
func (r *rig) metric(s *Service, name string) string {
	_, text := r.get(s, "/metrics")
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if series == name || series == name+`{stream="`+r.stream+`"}` {
			return value
		}
	}
	return "absent"
}

func TestService_MakesEveryEntryOneRow(t *testing.T) {
	r := newRig(t)
	records := r.publish(3000, 100)
	require.Equal(t, "0", r.rows())

	s, stop := r.start()
	servertest.Until(r.t, "all committed", func() bool { return s.Ledger.Snapshot().Inserted == 3000 })
	more := r.publishFrom(200)
	servertest.Until(r.t, "all committed", func() bool { return s.Ledger.Snapshot().Inserted == 3200 })
	stop()

	require.Equal(t, observe.LedgerSnapshot{Read: 3200, Inserted: 3200}, s.Ledger.Snapshot())
	require.Equal(t, "3200", r.rows())
	require.Zero(t, r.pending())
	require.Empty(t, r.dead())
	state, ok := s.Devices.Get(records[0].DeviceID)
	require.True(t, ok)
	require.Equal(t, uint64(30+2), state.PositionCountSession)
	require.Equal(t, more[len(more)-1].Timestamp, must(s.Devices.Get(more[len(more)-1].DeviceID)).LastPosition.Timestamp)
	consumers, err := r.client.XInfoConsumers(t.Context(), r.stream, "processor").Result()
	require.NoError(t, err)
	require.Empty(t, consumers, "a clean stop takes its name away")
}

// What a worker has read no other one gets for ClaimIdle, so a worker whose database check has never succeeded
// reads nothing and leaves the entries to the others.
func TestService_ReadsNothingBeforeItsDatabaseCheckSucceeds(t *testing.T) {
	for name, c := range map[string]struct {
		spoil, check, correct string
		url                   func(string) string
	}{
		"no table": {
			spoil: "ALTER TABLE positions RENAME TO elsewhere", check: "schema", correct: "ALTER TABLE elsewhere RENAME TO positions",
		},
		"no unique key": {
			spoil: "ALTER TABLE positions RENAME CONSTRAINT positions_pkey TO old; ALTER TABLE positions DROP CONSTRAINT old", check: "schema",
			correct: "ALTER TABLE positions ADD PRIMARY KEY (device_id, ts)",
		},
		"no server": {
			check: "postgres", url: func(string) string { return "postgres://postgres@127.0.0.1:1/telemetry" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			healthy := newRig(t)
			unready := newRig(t)
			unready.stream, unready.config.Streams, unready.config.Consumer = healthy.stream, healthy.config.Streams, "unready"
			if c.url != nil {
				unready.config.Database.URL = c.url(unready.config.Database.URL)
			}
			if c.spoil != "" {
				unready.sql(c.spoil)
			}
			first, stopFirst := unready.start()
			servertest.Until(t, "it is not ready", func() bool {
				check := first.Health.Readiness().Checks[c.check]
				return !check.OK && check.Error != "not checked yet"
			})
			healthy.publish(3000, 100)
			second, stopSecond := healthy.start()
			servertest.Until(t, "the other worker has all", func() bool { return second.Ledger.Snapshot().Inserted == 3000 })
			require.Equal(t, observe.LedgerSnapshot{}, first.Ledger.Snapshot())
			stopSecond()

			if c.correct != "" {
				unready.sql(c.correct)
				healthy.publishFrom(200)
				servertest.Until(t, "it reads", func() bool { return first.Ledger.Snapshot().Inserted == 200 })
				require.Equal(t, "200", unready.rows())
			}
			stopFirst()
			require.Equal(t, "3000", healthy.rows())
			require.Zero(t, healthy.pending())
		})
	}
}

// publishFrom continues the fleet of publish(3000, 100).
// onStopped is a log that calls a function for the line "stopped".
type onStopped func()

func (call onStopped) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(`"msg":"stopped"`)) {
		call()
	}
	return len(line), nil
}

func TestService_LogsTheLedgerBeforeItCloses(t *testing.T) {
	r := newRig(t)
	var s *Service
	answer := make(chan error, 1)
	logger := observe.NewLogger(onStopped(func() { answer <- s.Store.Ping(context.WithoutCancel(t.Context())) }), 0)
	s, err := New(t.Context(), r.config, observe.BuildInfo{}, logger)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))
	require.NoError(t, servertest.Within(t, answer), "the pool was closed already")
}

func (r *rig) publishFrom(n int) []fleet.Record {
	f := fleet.New(fleet.Options{Devices: 100, Seed: 1, Start: time.Now(), Step: time.Second})
	records := make([]fleet.Record, n)
	for i := range records {
		records[i] = f.Next(time.Time{})
	}
	require.NoError(r.t, fleet.NewPublisher(r.client, r.stream, 0).Publish(r.t.Context(), records...))
	return records
}

func must[T any](v T, ok bool) T {
	if !ok {
		panic("missing")
	}
	return v
}

// The corpus end to end: 50 real records, six of which share a key, make 45 rows.
func TestService_StoresTheCorpus(t *testing.T) {
	r := newRig(t)
	file, err := os.ReadFile("../position/testdata/teltonika.ndjson")
	require.NoError(t, err)
	type record struct {
		Entry struct {
			TS       string `json:"ts"`
			DeviceID string `json:"device_id"`
			Codec    string `json:"codec"`
			Payload  string `json:"payload"`
		} `json:"entry"`
		Expect string `json:"expect_attributes"`
	}
	type key struct{ device, ts string }
	expect := map[key][]string{}
	for line := range strings.Lines(string(file)) {
		var rec record
		require.NoError(t, json.Unmarshal([]byte(line), &rec))
		e := rec.Entry
		require.NoError(t, r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: r.stream, Values: []any{
			"ts", e.TS, "device_id", e.DeviceID, "codec", e.Codec, "payload", e.Payload}}).Err())
		expect[key{e.DeviceID, e.TS}] = append(expect[key{e.DeviceID, e.TS}], rec.Expect)
	}
	s, stop := r.start()
	servertest.Until(r.t, "all committed", func() bool { return s.Ledger.Snapshot().Read == 50 && s.Ledger.Snapshot().InFlight == 0 })
	stop()

	require.Equal(t, "45", r.rows())
	require.Equal(t, uint64(45), s.Ledger.Snapshot().Inserted)
	require.Zero(t, r.pending())
	require.Empty(t, r.dead())
	for k, wanted := range expect {
		union := wanted[0]
		for _, later := range wanted[1:] {
			union = r.ask(`SELECT ($2::jsonb || $1::jsonb)::text`, union, later)[0]
		}
		require.Equal(t, []string{"true"}, r.ask(
			`SELECT (attributes = $3::text::jsonb)::text FROM positions WHERE device_id = $1 AND ts = $2::text::timestamptz`, k.device, k.ts, union), k)
	}
}

func TestService_DeadLettersWhatCannotBeARow(t *testing.T) {
	r := newRig(t)
	good := r.publish(50, 10)
	ids := []string{
		r.add("hello"),
		r.add(strings.Replace(string(good[0].Payload), `"speed"`, `"velocity"`, 1)),
		r.add(strings.Replace(string(good[0].Payload), `"priority":0`, `"priority":300`, 1)),
		r.add(strings.Replace(string(good[0].Payload), `"attributes":{`, `"attributes":{"1":{"__bigint":"x"},`, 1)),
	}
	r.sql("ALTER TABLE positions ADD CONSTRAINT not_there CHECK (device_id <> 'ghost')")
	ids = append(ids, r.add(strings.ReplaceAll(string(good[0].Payload), good[0].DeviceID, "ghost")))
	noPayload, err := r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: r.stream, Values: []any{"foo", "bar"}}).Result()
	require.NoError(t, err)

	s, stop := r.start()
	servertest.Until(r.t, "all settled", func() bool { return s.Ledger.Snapshot().Read == 56 && s.Ledger.Snapshot().InFlight == 0 })
	stop()

	require.Equal(t, observe.LedgerSnapshot{Read: 56, Inserted: 50, DeadLettered: 6}, s.Ledger.Snapshot())
	require.Equal(t, "50", r.rows())
	require.Zero(t, r.pending())
	details := map[string]any{}
	letters, err := r.client.XRange(t.Context(), stream.DeadKey(r.stream), "-", "+").Result()
	require.NoError(t, err)
	for _, l := range letters {
		details[fmt.Sprint(l.Values[stream.FieldSourceID])] = l.Values[stream.FieldDetail]
	}
	require.Equal(t, "not_json: the entry has no field payload", details[noPayload])
	require.ElementsMatch(t, []string{
		"not_json: " + ids[0], "missing_key: " + ids[1], "out_of_range: " + ids[2], "malformed_sentinel: " + ids[3],
		"rejected_by_database: " + ids[4], "not_json: " + noPayload,
	}, r.dead())
}

// What a process before this one had in flight is read first, whatever became of it there.
func TestService_FinishesWhatWasPending(t *testing.T) {
	r := newRig(t)
	r.publish(1200, 50)
	c := stream.NewConsumer(r.client, r.stream, "processor", "me")
	_, err := c.EnsureGroup(t.Context())
	require.NoError(t, err)
	for range 2 { // the process before read 1000 and died
		_, err = c.ReadNew(t.Context(), new(stream.Batch), 500, time.Millisecond, nil)
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	require.Equal(t, int64(1000), r.pending())
	trimmed, err := r.client.XRangeN(t.Context(), r.stream, "-", "+", 3).Result()
	require.NoError(t, err)
	require.NoError(t, r.client.XDel(t.Context(), r.stream, trimmed[0].ID, trimmed[2].ID).Err())

	s, stop := r.start()
	servertest.Until(r.t, "all committed", func() bool { return s.Ledger.Snapshot().Inserted == 1198 })
	servertest.Until(r.t, "all acknowledged", func() bool { return r.pending() == 0 })
	lost := r.metric(s, "processor_lost_pending_total")
	stop()
	require.Equal(t, observe.LedgerSnapshot{Read: 1198, Inserted: 1198}, s.Ledger.Snapshot())
	require.Equal(t, "1198", r.rows())
	require.Equal(t, "2", lost)
}

func TestService_ReadsSeveralStreams(t *testing.T) {
	r := newRig(t)
	r.config.Streams = []string{r.stream, r.stream + ":2", r.stream + ":3"}
	r.config.Writers = 1 // fewer than streams: an idle stream must not hold the only writer
	r.publish(100, 10)
	other := *r
	other.stream = r.stream + ":3"
	s, stop := r.start()
	servertest.Until(r.t, "first", func() bool { return s.Ledger.Snapshot().Inserted == 100 })
	f := fleet.New(fleet.Options{Devices: 10, Seed: 9, Start: time.Now(), Step: time.Second})
	var records []fleet.Record
	for range 50 {
		records = append(records, f.Next(time.Time{}))
	}
	require.NoError(t, fleet.NewPublisher(r.client, other.stream, 0).Publish(t.Context(), records...))
	servertest.Until(r.t, "second", func() bool { return s.Ledger.Snapshot().Read == 150 && s.Ledger.Snapshot().InFlight == 0 })
	stop()
	require.Zero(t, r.pending())
	require.Zero(t, other.pending())
}

func TestService_GoesOnWhenTheGroupIsGone(t *testing.T) {
	r := newRig(t)
	s, stop := r.start()
	r.publish(10, 10)
	servertest.Until(r.t, "first", func() bool { return s.Ledger.Snapshot().Inserted == 10 })
	require.NoError(t, r.client.Del(t.Context(), r.stream).Err()) // as FLUSHALL would
	r.publishFrom(100)
	servertest.Until(r.t, "second", func() bool { return s.Ledger.Snapshot().Inserted == 110 })
	require.Equal(t, "1", r.metric(s, "processor_group_recreated_total"))
	stop()
	require.Contains(t, r.log.String(), "created anew at the beginning")
	require.Equal(t, "110", r.rows())
}

func TestService_AnswersOverHTTP(t *testing.T) {
	r := newRig(t)
	s, stop := r.start()
	r.publish(100, 10)
	servertest.Until(r.t, "ready", func() bool { code, _ := r.get(s, "/readyz"); return code == 200 })
	servertest.Until(r.t, "committed", func() bool { return s.Ledger.Snapshot().Inserted == 100 })
	code, _ := r.get(s, "/healthz")
	require.Equal(t, 200, code)
	for name, want := range map[string]string{
		"processor_entries_read_total":                                  "100",
		`processor_positions_total{outcome="inserted"}`:                 "100",
		"processor_entries_in_flight":                                   "0",
		"processor_devices":                                             "10",
		`processor_write_errors_total{class="unavailable"}`:             "0",
		"processor_ack_errors_total":                                    "0",
		"processor_commit_unknown_total":                                "0",
		"processor_trimmed_unread_total":                                "0",
		`processor_batch_write_seconds_bucket{path="upsert",le="+Inf"}`: "0",
	} {
		require.Equal(t, want, r.metric(s, name), name)
	}
	stop()
}

// The stop finishes what is in flight: every committed row is acknowledged, and the rest was
// never read or stays pending.
func TestService_ServesProfilesOnAnAddressOfTheirOwn(t *testing.T) {
	r := newRig(t)
	r.config.PprofAddr = "127.0.0.1:0"
	s, _ := r.start()
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/cmdline": 404, "/metrics": 404} {
		response, err := http.Get("http://" + s.profiles.Addr() + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, path)
	}
	code, _ := r.get(s, "/debug/pprof/")
	require.Equal(t, 404, code)
}

func TestService_StopsInTheMiddleWithNothingHalfDone(t *testing.T) {
	r := newRig(t)
	r.publish(20000, 100)
	s, stop := r.start()
	servertest.Until(r.t, "some committed", func() bool { return s.Ledger.Snapshot().Inserted > 1000 })
	stop()
	ledger := s.Ledger.Snapshot()
	require.Zero(t, ledger.InFlight)
	require.Zero(t, r.pending())
	require.Equal(t, fmt.Sprint(ledger.Inserted), r.rows())

	s, stop = r.start()
	servertest.Until(r.t, "the rest", func() bool { return s.Ledger.Snapshot().Inserted == 20000-ledger.Inserted })
	stop()
	require.Equal(t, "20000", r.rows())
	require.Zero(t, r.pending())
}
