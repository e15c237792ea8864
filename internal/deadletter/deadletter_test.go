package deadletter

import (
	"context"
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/inspect"
	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/store"
	"processor/internal/stream"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// fixture is a stream of the test's own with its dead letters.
type fixture struct {
	t      *testing.T
	client redis.UniversalClient
	stream string
	queue  *Queue
}

func newFixture(t *testing.T) fixture { return newFixtureOn(t, servertest.Redis(t)) }

func newFixtureOn(t *testing.T, url string) fixture {
	client, err := stream.Connect(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	name := servertest.StreamName(t)
	return fixture{t, client, name, NewQueue(client, name)}
}

// put writes a letter as the worker does; the id may be "*".
func (f fixture) put(id string, reason Reason, fields ...string) stream.ID {
	fields = append(fields, stream.FieldReason, string(reason), stream.FieldDetail, "why", stream.FieldSourceID, "1-1", stream.FieldTime, "2026-11-23T12:00:00Z")
	text, err := f.client.XAdd(f.t.Context(), &redis.XAddArgs{Stream: stream.DeadKey(f.stream), ID: id, Values: fields}).Result()
	require.NoError(f.t, err)
	parsed, err := stream.ParseID(text)
	require.NoError(f.t, err)
	return parsed
}

// choose returns the pages of what the filter chooses.
func (f fixture) choose(filter Filter) [][]Letter {
	chosen, err := f.queue.Select(f.t.Context(), filter)
	require.NoError(f.t, err)
	var pages [][]Letter
	require.NoError(f.t, chosen.Pages(f.t.Context(), func(page []Letter) error {
		pages = append(pages, page)
		return nil
	}))
	return pages
}

// entries lists a stream as "field=value …", without the ids.
func (f fixture) entries(key string) []string {
	found, err := f.client.Do(f.t.Context(), "xrange", key, "-", "+").Slice()
	require.NoError(f.t, err)
	entries := []string{}
	for _, e := range found {
		var text []string
		fields := e.([]any)[1].([]any)
		for i := 0; i < len(fields); i += 2 {
			text = append(text, fmt.Sprintf("%s=%s", fields[i], fields[i+1]))
		}
		entries = append(entries, strings.Join(text, " "))
	}
	return entries
}

func (f fixture) source() []string { return f.entries(f.stream) }
func (f fixture) dead() []string   { return f.entries(stream.DeadKey(f.stream)) }

func TestReasons_HoldAllOfDecoding(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../position/error.go", nil, 0)
	require.NoError(t, err)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			found++
			require.Contains(t, Reasons(), Reason(strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)))
		}
		return true
	})
	require.Equal(t, len(Reasons())-4, found)
}

func TestReason_IsOneOfTheSet(t *testing.T) {
	var r Reason
	var _ encoding.TextUnmarshaler = &r
	for _, known := range Reasons() {
		require.NoError(t, r.UnmarshalText([]byte(known)))
		require.Equal(t, known, r)
	}
	require.EqualError(t, r.UnmarshalText([]byte("bad_luck")), `"bad_luck" is not one of not_json, missing_key, wrong_type, `+
		`out_of_range, malformed_sentinel, unstorable_string, unstorable_number, too_deep, rejected_by_database, timestamp_out_of_window, delivered_too_often, too_large`)
}

func TestSelection_Filters(t *testing.T) {
	f := newFixture(t)
	require.Empty(t, f.choose(Filter{}), "no dead letters")

	now, err := f.client.Time(t.Context()).Result()
	require.NoError(t, err)
	ago := func(d time.Duration) string { return fmt.Sprintf("%d-7", now.Add(-d).UnixMilli()) }
	a := f.put(ago(3*time.Hour), NotJSON, "payload", "rubbish", "device_id", "field")
	b := f.put(ago(2*time.Hour), MissingKey, "payload", `{"device_id":"one"}`, "device_id", "field")
	c := f.put(ago(time.Hour), NotJSON, "payload", `{"device_id":"two","x":`)
	d := f.put("*", RejectedByDatabase, "ts", "1")
	cases := map[string]struct {
		filter Filter
		want   []stream.ID
	}{
		"all":                         {Filter{}, []stream.ID{a, b, c, d}},
		"a reason":                    {Filter{Reasons: []Reason{NotJSON}}, []stream.ID{a, c}},
		"reasons":                     {Filter{Reasons: []Reason{MissingKey, RejectedByDatabase}}, []stream.ID{b, d}},
		"the payload's device":        {Filter{Devices: []string{"one"}}, []stream.ID{b}},
		"the device of half a JSON":   {Filter{Devices: []string{"two"}}, []stream.ID{c}},
		"the field's device":          {Filter{Devices: []string{"field"}}, []stream.ID{a}},
		"older":                       {Filter{Older: 90 * time.Minute}, []stream.ID{a, b}},
		"newer":                       {Filter{Newer: 90 * time.Minute}, []stream.ID{c, d}},
		"between":                     {Filter{Newer: 150 * time.Minute, Older: 30 * time.Minute}, []stream.ID{b, c}},
		"nothing is older and newer":  {Filter{Newer: 30 * time.Minute, Older: 150 * time.Minute}, nil},
		"ids":                         {Filter{IDs: []stream.ID{c, {Millis: 1}, a}}, []stream.ID{c, a}},
		"all conditions hold at once": {Filter{IDs: []stream.ID{a, b, c}, Reasons: []Reason{NotJSON}, Older: 90 * time.Minute, Devices: []string{"field"}}, []stream.ID{a}},
	}
	for name, c := range cases {
		var got []stream.ID
		for _, page := range f.choose(c.filter) {
			for i := range page {
				got = append(got, page[i].ID)
			}
		}
		require.Equal(t, c.want, got, name)
	}
}

// Large letters after many small ones: no page is judged by those before it.
func TestSelection_TakesPagesOfBoundedSize(t *testing.T) {
	const small, large, size, pageBytes = 1500, 100, 100_000, 1 << 20
	f := newFixture(t)
	for range small {
		f.put("*", NotJSON, "payload", "x")
	}
	payload := strings.Repeat("x", size)
	for range large {
		f.put("*", NotJSON, "payload", payload)
	}
	f.put("*", NotJSON, "payload", strings.Repeat("x", 2*pageBytes))
	chosen, err := f.queue.Select(t.Context(), Filter{})
	require.NoError(t, err)
	backward, err := f.queue.Select(t.Context(), Filter{NewestFirst: true})
	require.NoError(t, err)
	seen, pages := 0, 0
	require.NoError(t, chosen.Pages(t.Context(), func(page []Letter) error {
		bytes := 0
		for i := range page {
			bytes += len(page[i].Payload())
		}
		require.True(t, bytes <= pageBytes || len(page) == 1, "%d letters of %d bytes", len(page), bytes)
		seen, pages = seen+len(page), pages+1
		f.put("*", NotJSON, "payload", "came later")
		return nil
	}))
	require.Equal(t, small+large+1, seen, "each once, and none that came later")
	require.Less(t, pages, 20)

	var last stream.ID
	seen = 0
	require.NoError(t, backward.Pages(t.Context(), func(page []Letter) error {
		for i := range page {
			require.True(t, seen == 0 || page[i].ID.Compare(last) < 0, "the newest first")
			last = page[i].ID
			seen++
		}
		f.put("*", NotJSON, "payload", "came later")
		return nil
	}))
	require.Equal(t, small+large+1, seen)
}

func TestQueue_ReplaysExactly(t *testing.T) {
	f := newFixture(t)
	f.put("*", NotJSON, "ts", "1", "payload", "\x00\xff", "payload", "again")
	f.put("*", MissingKey, "payload", "{}", stream.FieldReason, "of the entry itself")
	f.put("*", WrongType, "payload", "stays")
	require.Empty(t, f.source())
	before := f.dead()
	require.Len(t, before, 3)

	page := f.choose(Filter{Reasons: []Reason{NotJSON, MissingKey}})[0]
	n, err := f.queue.Replay(t.Context(), page)
	require.NoError(t, err)
	require.Len(t, n, 2)
	after := []string{"ts=1 payload=\x00\xff payload=again", "payload={} dlq_reason=of the entry itself"}
	require.Equal(t, after, f.source())
	require.Equal(t, before[2:], f.dead())

	n, err = f.queue.Replay(t.Context(), page)
	require.NoError(t, err)
	require.Empty(t, n, "somebody else was faster")
	require.Equal(t, after, f.source())
	require.Equal(t, before[2:], f.dead())
}

func TestQueue_LosesNothingWhereReplayFails(t *testing.T) {
	f := newFixture(t)
	f.put("*", NotJSON, "payload", "1")
	f.put("*", NotJSON, "payload", "2")
	require.NoError(t, f.client.Set(t.Context(), f.stream, "no stream", 0).Err())
	before := f.dead()

	n, err := f.queue.Replay(t.Context(), f.choose(Filter{})[0])
	require.True(t, redis.HasErrorPrefix(err, "WRONGTYPE"), err)
	require.Empty(t, n)
	require.Equal(t, before, f.dead())
}

func TestQueue_FindsByEitherID(t *testing.T) {
	f := newFixture(t)
	c := stream.NewConsumer(f.client, f.stream, "processor", "me")
	_, err := c.EnsureGroup(t.Context())
	require.NoError(t, err)
	source, err := f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: f.stream, Values: []string{"payload", "x"}}).Result()
	require.NoError(t, err)
	var b stream.Batch
	_, err = c.ReadNew(t.Context(), &b, 1, time.Second, nil)
	require.NoError(t, err)
	_, err = c.DeadLetter(t.Context(), []stream.Letter{{Entry: &b.Entries[0], Reason: string(NotJSON)}})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	other := f.put("*", MissingKey, "payload", "2") // of the entry 1-1
	find := func(text string) string {
		id, err := stream.ParseID(text)
		require.NoError(t, err)
		l, err := f.queue.Find(t.Context(), id)
		require.NoError(t, err)
		if l == nil {
			return ""
		}
		return l.Reason
	}
	require.Equal(t, "not_json", find(source))
	require.Equal(t, "missing_key", find(other.String()))
	require.Equal(t, "missing_key", find("1-1"), "not in the hash of source ids")
	require.Empty(t, find("2-1"))
	require.NoError(t, f.client.Del(t.Context(), stream.SourcesKey(f.stream)).Err())
	require.Equal(t, "not_json", find(source), "without the hash")
}

func TestFollower_TellsWhatBecame(t *testing.T) {
	f := newFixture(t)
	follower, err := f.queue.Follow(t.Context(), "processor")
	require.NoError(t, err)
	ids := make([]stream.ID, 4)
	for i := range ids {
		text, err := f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: f.stream, Values: []string{"payload", "x"}}).Result()
		require.NoError(t, err)
		ids[i], err = stream.ParseID(text)
		require.NoError(t, err)
		follower.Add([]stream.ID{ids[i]})
		require.NoError(t, f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: f.stream, Values: []string{"payload", "of another"}}).Err())
	}
	look := func() Outcome {
		o, err := follower.Look(t.Context())
		require.NoError(t, err)
		return o
	}
	require.Equal(t, Outcome{Unread: 4}, look(), "no group")
	c := stream.NewConsumer(f.client, f.stream, "processor", "me")
	defer func() { require.NoError(t, c.Close()) }()
	_, err = c.EnsureGroup(t.Context())
	require.NoError(t, err)
	require.Equal(t, Outcome{Unread: 4}, look(), "no consumer")
	var b stream.Batch
	_, err = c.ReadNew(t.Context(), &b, 6, time.Second, nil) // three of them, and three others
	require.NoError(t, err)
	require.Equal(t, Outcome{Unread: 1, Pending: 3, Read: true}, look())
	_, err = c.Ack(t.Context(), ids[:1])
	require.NoError(t, err)
	_, err = c.DeadLetter(t.Context(), []stream.Letter{{Entry: &b.Entries[1], Reason: string(NotJSON)}, {Entry: &b.Entries[2], Reason: string(NotJSON)}})
	require.NoError(t, err)
	require.Equal(t, Outcome{Rows: 1, DeadAgain: 1, Pending: 1, Unread: 1, Read: true}, look())

	many := make([]stream.ID, followed)
	for i := range many {
		many[i] = stream.ID{Millis: 1, Seq: uint64(i)}
	}
	follower, err = f.queue.Follow(t.Context(), "processor")
	require.NoError(t, err)
	follower.Add(many)
	follower.Add(many[:3])
	require.Equal(t, Outcome{Rows: followed, Untold: 3, Read: true}, look())
}

func TestQueue_Drops(t *testing.T) {
	f := newFixture(t)
	f.put("*", NotJSON, "payload", "1")
	f.put("*", MissingKey, "payload", "2")
	before := f.dead()
	page := f.choose(Filter{Reasons: []Reason{NotJSON}})[0]
	for _, want := range []int{1, 0} {
		n, err := f.queue.Drop(t.Context(), page)
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.Equal(t, before[1:], f.dead())
		require.Empty(t, f.source())
	}
}

func TestQueue_WorksInACluster(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{Cluster: true})
	node := newFixtureOn(t, server.URL())
	require.NoError(t, node.client.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err())
	require.Eventually(t, func() bool {
		return strings.Contains(node.client.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	}, 30*time.Second, 10*time.Millisecond)

	f := newFixtureOn(t, server.URL()+"?addr="+strings.TrimPrefix(server.URL(), "redis://"))
	f.put("*", NotJSON, "payload", "1")
	f.put("*", NotJSON, "payload", "2")
	page := f.choose(Filter{Newer: time.Hour})[0]
	added, err := f.queue.Replay(t.Context(), page[:1])
	require.NoError(t, err)
	require.Len(t, added, 1)
	n, err := f.queue.Drop(t.Context(), page)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"payload=1"}, f.source())
	require.Empty(t, f.dead())
}

func TestTrial_SaysWhatReplayWouldDo(t *testing.T) {
	const good = `{"device_id":"a","timestamp":"2025-06-01T12:00:00Z","latitude":1,"longitude":2,"altitude":3,"angle":4,"speed":%d,"satellites":6,"priority":0,"attributes":{"1":1}}`
	f := newFixture(t)
	f.put("*", RejectedByDatabase, "payload", fmt.Sprintf(good, 5))
	f.put("*", RejectedByDatabase, "payload", fmt.Sprintf(good, 500))
	f.put("*", MissingKey, "payload", `{}`)
	f.put("*", NotJSON, "ts", "1")
	f.put("*", TimestampOutOfWindow, "payload", strings.Replace(fmt.Sprintf(good, 5), "2025-06", "1970-01", 1))

	url := servertest.Migrated(t)
	servertest.Execute(t, url, "ALTER TABLE positions ADD CHECK (speed < 300)")
	database, err := inspect.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, database.Close(context.WithoutCancel(t.Context()))) }()

	window := Window{MaxAge: 10 * 365 * 24 * time.Hour, MaxFuture: 24 * time.Hour}
	before := f.dead()
	cases := map[string]struct {
		trial Trial
		want  []string
	}{
		"decoding alone": {Trial{Window: window}, []string{
			"true decodes", "true decodes", "false device_id: missing_key", "false not_json: the entry has",
			"false timestamp_out_of_window: 1970-01-01T12:00:00Z is older than --max-age 87600h0m0s",
		}},
		"with the database": {Trial{Database: database}, []string{
			"true a new row",
			"false rejected_by_database: 23514: ",
			"false device_id: missing_key", "false not_json: the entry has", "true a new row",
		}},
	}
	for name, c := range cases {
		page := f.choose(Filter{})[0]
		require.Len(t, page, len(c.want))
		for i := range page {
			verdict, err := c.trial.Try(t.Context(), &page[i])
			require.NoError(t, err)
			got := fmt.Sprint(verdict.Passes, " ", verdict.Detail)
			require.Equal(t, c.want[i], got[:min(len(c.want[i]), len(got))], name)
		}
	}
	require.Equal(t, before, f.dead())
	require.Empty(t, f.source())

	servertest.Execute(t, url, "DROP TABLE positions")
	page := f.choose(Filter{})[0]
	trial := Trial{Database: database}
	_, err = trial.Try(t.Context(), &page[0])
	require.Equal(t, store.Schema, store.Classify(err), "no verdict on the letter")
}

func TestWindow_Outside(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	w := Window{MaxAge: time.Hour, MaxFuture: time.Minute}
	require.Empty(t, w.Outside(now, now.Add(-time.Hour)))
	require.Empty(t, w.Outside(now, now.Add(time.Minute)))
	require.Equal(t, "2026-11-23T10:59:59Z is older than --max-age 1h0m0s", w.Outside(now, now.Add(-time.Hour-time.Second)))
	require.Equal(t, "2026-11-23T12:01:01Z is further ahead than --max-future 1m0s", w.Outside(now, now.Add(time.Minute+time.Second)))
	require.Empty(t, Window{}.Outside(now, now.AddDate(-500, 0, 0)), "0 is no bound")
}
