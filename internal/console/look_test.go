package console

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/deadletter"
	"processor/internal/status"
	"processor/internal/stream"
	"processor/internal/trace"
)

// view is one look at a stream.
func view(at time.Time, added, done float64, dead int64) *status.View {
	return &status.View{Time: at, Redis: status.Server{OK: true}, Streams: []status.Stream{{
		Name: "t", AddedRate: &added, DoneRate: &done, DeadLetters: status.DeadLetters{Total: dead}, Group: &status.Group{Pending: 7},
	}}}
}

func TestHistory_CountsWhatIsStored(t *testing.T) {
	var h history
	start := time.UnixMilli(1_800_000_000_000)
	h.add(view(start, 100, 90, 5))
	h.add(view(start.Add(2*time.Second), 100, 90, 25)) // 10 dead letters a second
	h.add(view(start.Add(4*time.Second), 100, 2, 1))   // replayed meanwhile
	h.add(&status.View{Time: start.Add(6 * time.Second), Streams: []status.Stream{{Name: "t"}}})
	text, err := json.Marshal(h.after(0))
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"seq":1800000000000,"t":1800000000000,"streams":{"t":[100,90,null,7,5]}},
		{"seq":1800000002000,"t":1800000002000,"streams":{"t":[100,80,null,7,25]}},
		{"seq":1800000004000,"t":1800000004000,"streams":{"t":[100,2,null,7,1]}},
		{"seq":1800000006000,"t":1800000006000,"streams":{"t":[null,null,null,null,null]}}]`, string(text))
	require.Len(t, h.after(1800000002000), 2)
	require.Empty(t, h.after(math.MaxInt64))
}

func TestHistory_IsBounded(t *testing.T) {
	var h history
	many := &status.View{Redis: status.Server{OK: true}, Streams: make([]status.Stream, 1000)}
	for i := range many.Streams {
		many.Streams[i].Name = fmt.Sprint(i)
	}
	for n := range 1000 {
		h.add(view(time.UnixMilli(int64(n)), 1, 1, 0))
	}
	require.Len(t, h.points, maxPoints)
	for n := range 100 {
		many.Time = time.UnixMilli(int64(1000 + n))
		h.add(many)
	}
	require.Len(t, h.points, maxCells/1000)
	kept := h.after(0)
	h.add(many)
	require.Equal(t, int64(1100-maxCells/1000), kept[0].Millis, "what was handed out does not change")
}

// counting counts the commands that are sent to Redis.
type counting struct{ n atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); return next(ctx, cmd) }
}

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n.Add(1); return next(ctx, cmds) }
}

// However many browsers look at the page: what they share asks the servers nothing.
func TestState_AsksNothing(t *testing.T) {
	s, err := New(Config{Addr: "127.0.0.1:0", RedisURL: "redis://127.0.0.1:1", DatabaseURL: "postgres://127.0.0.1:1/d", Streams: []string{"t"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	asked := &counting{}
	s.client.AddHook(asked)
	for range 100 {
		r := httptest.NewRequest(http.MethodGet, "/api/state?since=0", nil)
		r.Host = "127.0.0.1"
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
	}
	require.Zero(t, asked.n.Load())
}

func TestQueryOf(t *testing.T) {
	at := time.Date(2025, 6, 1, 10, 3, 0, 0, time.UTC)
	for in, want := range map[[3]string]trace.Query{
		{" dev-1 ", "", ""}:                   {Devices: []string{"dev-1"}, Within: 30 * time.Second},
		{"356307042441013", "", ""}:           {Devices: []string{"356307042441013"}, Within: 30 * time.Second},
		{"1764036553000-0", "", ""}:           {ID: stream.ID{Millis: 1764036553000}},
		{"d", "2025-06-01T10:03:00Z", ""}:     {Devices: []string{"d"}, At: at, Within: 30 * time.Second},
		{"d", "2025-06-01T10:03:00Z", "15m"}:  {Devices: []string{"d"}, At: at, Within: 30 * time.Second},
		{"d", "", "15m"}:                      {Devices: []string{"d"}, Since: 15 * time.Minute, Within: 30 * time.Second},
		{"1-1", "2025-06-01T10:03:00Z", ""}:   {Devices: []string{"1-1"}, At: at, Within: 30 * time.Second},
		{"1-1", "", "15m"}:                    {Devices: []string{"1-1"}, Since: 15 * time.Minute, Within: 30 * time.Second},
		{"<script>alert(1)</script>", "", ""}: {Devices: []string{"<script>alert(1)</script>"}, Within: 30 * time.Second},
	} {
		got, err := queryOf(in[0], in[1], in[2])
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range [][3]string{{"", "", ""}, {" ", "", ""}, {"d", "10:03", ""}, {"d", "", "x"}, {"d", "", "-1m"}, {strings.Repeat("d", 257), "", ""}, {"\xff", "", ""}} {
		_, err := queryOf(in[0], in[1], in[2])
		require.Error(t, err, in)
	}
}

func letterOf(reason deadletter.Reason, payload string) *deadletter.Letter {
	return &deadletter.Letter{DeadLetter: stream.DeadLetter{Reason: string(reason), Fields: []stream.Field{
		{Name: []byte("device_id"), Value: []byte("secret\xff")}, {Name: []byte("payload"), Value: []byte(payload)},
	}}}
}

func TestOpen_HidesWhatHoldsCoordinates(t *testing.T) {
	const payload = `{"device_id":"d","timestamp":"2025-06-01T12:00:00Z","latitude":54.68721234,"longitude":"x"}`
	hidden, shown := &Server{}, &Server{config: Config{ShowPositions: true}}
	l := letterOf(deadletter.WrongType, payload)
	text, err := json.Marshal(hidden.open("t", l))
	require.NoError(t, err)
	require.NotContains(t, string(text), "54.68721234")
	require.NotContains(t, string(text), "secret")
	o := shown.open("t", l)
	require.Contains(t, *o.Payload, "\n  \"latitude\": 54.68721234,")
	require.Equal(t, `"secret\xff"`, *o.Fields[0].Value)
	require.Equal(t, "longitude", o.Key)
	require.Contains(t, o.Now, "longitude: wrong_type")

	huge := shown.open("t", letterOf(deadletter.NotJSON, strings.Repeat("é", maxShown)))
	require.True(t, huge.Shortened)
	require.LessOrEqual(t, len(*huge.Payload), maxShown)
	require.Equal(t, 2*maxShown, huge.Bytes)
	require.Equal(t, "only the beginning of the entry is kept", shown.open("t", letterOf(deadletter.TooLarge, payload)).Now)
	good := `{"device_id":"d","timestamp":"2025-06-01T12:00:00Z","latitude":1,"longitude":2,"altitude":3,"angle":4,"speed":5,"satellites":6,"priority":0}`
	require.True(t, shown.open("t", letterOf(deadletter.RejectedByDatabase, good)).Decodes)
}

func TestPlaces_KeepTheNewestFixOfADevice(t *testing.T) {
	p := newPlaces()
	fix := func(device, clock string, latitude float64) {
		p.note(fmt.Appendf(nil, `{"device_id":%q,"timestamp":"2025-06-01T%sZ","latitude":%v,"longitude":2,"altitude":3,"angle":4,"speed":5,"satellites":6,"priority":0}`, device, clock, latitude))
	}
	fix("a", "12:00:01", 10)
	fix("a", "12:00:00", 20)
	fix("b", "12:00:00", 200) // no place on Earth
	p.note([]byte("not JSON"))
	require.Equal(t, []string{"a"}, p.last.Keys())
	at, _ := p.last.Peek("a")
	require.Equal(t, place{1748779201000, 10, 2, 5, 4}, at)
	for n := range maxFleet + 10 {
		fix(fmt.Sprint(n), "12:00:00", 1)
	}
	require.Equal(t, maxFleet, p.last.Len())
}
