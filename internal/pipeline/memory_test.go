package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// recordOf is the payload of round r, n in it; all of a round are as long as those of every other one.
func recordOf(r, n int) string {
	return fmt.Sprintf(`{"device_id":"device-%d%d","timestamp":"2026-03-04T12:0%d:0%d.000Z","latitude":5%d.25,"longitude":2%d.5,`+
		`"altitude":100,"angle":90,"speed":1%d,"satellites":9,"priority":%d,"attributes":{"round":%d,"text":"%s"}}`,
		r, n, r, n, r, n, r, n, r, strings.Repeat(string(rune('a'+r)), 40))
}

// takeBatch takes a batch from Redis through a worker but for the database: of six entries the second is parked, the
// third is no JSON, the fourth is too large; the others are stored.
func takeBatch(t *testing.T, l *lane, w *worker) {
	t.Helper()
	var b stream.Batch
	n, err := l.consumer.ReadNew(t.Context(), &b, 100, time.Second, nil)
	require.NoError(t, err)
	require.Equal(t, 6, n)
	batch := &batch{Batch: b, kind: fresh}
	l.launch(batch)
	w.admit(batch)
	w.decode(batch)
	require.Len(t, w.rows, 4)
	for _, it := range w.rows {
		it.outcome = stored
	}
	w.rows[1].outcome, w.rows[1].err = parked, errors.New("refused")
	w.fresh = make([]bool, len(w.rows))
	w.observe(t.Context())
	for _, it := range batch.items {
		require.True(t, l.place(it, nil))
	}
	w.forget()
	close(batch.done)
	l.release()
	require.Empty(t, l.inFlight)
}

// fieldsOf are an entry's fields as "name=value".
func fieldsOf(e *stream.Entry) (fields []string) {
	for name, value := range e.Fields {
		fields = append(fields, fmt.Sprintf("%s=%s", name, value))
	}
	return fields
}

// Batches of the same shape use the same memory one after the other, which the race detector's build overwrites in
// between. What is parked, dead letters, device state, listeners and the log keep their values.
func TestBatch_NothingRefersToReleasedMemory(t *testing.T) {
	const rounds = 6
	var got []Row
	p, _, stop, _ := listening(t, map[string]Listener{"all": listenerFunc(func(_ context.Context, rows []Row) { got = append(got, rows...) })})
	var log bytes.Buffer
	p.Logger = observe.NewLogger(&log, slog.LevelDebug)
	client, err := stream.Connect(servertest.Redis(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	consumer := stream.NewConsumer(client, servertest.StreamName(t), "processor", "me")
	consumer.MaxEntry = 4 << 10
	t.Cleanup(func() { require.NoError(t, consumer.Close()) })
	_, err = consumer.EnsureGroup(t.Context())
	require.NoError(t, err)
	l := p.newLane(consumer, nil)
	w := &worker{pipeline: p, finisher: finisher{pipeline: p}}
	notJSON := func(r int) string { return strings.Repeat(fmt.Sprint(r), 100) + "x" }
	for r := range rounds {
		for _, payload := range []string{recordOf(r, 0), recordOf(r, 1), notJSON(r), strings.Repeat(fmt.Sprint(r), 5<<10), recordOf(r, 2), recordOf(r, 3)} {
			require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: consumer.Stream(), Values: []any{"codec", fmt.Sprint(r), "payload", payload}}).Err())
		}
		takeBatch(t, l, w)
	}
	stop()

	require.Equal(t, rounds, l.writes.len())
	for r, it := range l.writes.take(rounds) {
		require.Equal(t, []string{fmt.Sprintf("codec=%d", r), "payload=" + recordOf(r, 1)}, fieldsOf(it.entry))
		require.Equal(t, recordOf(r, 1), string(it.entry.Payload))
		require.EqualError(t, it.err, "refused")
	}
	letters := l.letters.take(2 * rounds)
	require.Len(t, letters, 2*rounds)
	for i, it := range letters {
		r, letter := i/2, it.err.(*refusal).letter
		require.Same(t, it.entry, letter.Entry)
		want, reason := notJSON(r), "not_json"
		if i%2 == 1 {
			want, reason = strings.Repeat(fmt.Sprint(r), 4096), "too_large"
		}
		require.Equal(t, []string{fmt.Sprintf("codec=%d", r), "payload=" + want}, fieldsOf(it.entry))
		require.Equal(t, want, string(it.entry.Payload))
		require.Equal(t, reason, letter.Reason)
		require.NotContains(t, letter.Detail, "\xff")
	}
	require.Equal(t, 3*rounds, l.acks.len())
	require.Len(t, got, 3*rounds)
	for i, row := range got {
		r, n := i/3, []int{0, 2, 3}[i%3]
		id, ts := fmt.Sprintf("device-%d%d", r, n), time.Date(2026, 3, 4, 12, r, n, 0, time.UTC)
		require.Equal(t, id, row.Position.DeviceID)
		require.Equal(t, ts, row.Position.Timestamp)
		require.JSONEq(t, fmt.Sprintf(`{"round":%d,"text":"%s"}`, r, strings.Repeat(string(rune('a'+r)), 40)), string(row.Position.Attributes))
		state, found := p.Devices.Get(id)
		require.True(t, found, id)
		require.Equal(t, ts, state.LastPosition.Timestamp)
		require.Contains(t, log.String(), `"device_id":"`+id+`"`)
	}
	require.Len(t, p.Devices.Newest(100), 3*rounds)
	for _, named := range p.Devices.Newest(100) {
		require.Regexp(t, `^device-\d\d$`, named.DeviceID)
	}
}
