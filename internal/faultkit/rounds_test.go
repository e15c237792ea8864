package faultkit

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
	"processor/internal/servertest"
)

// Several streams without a backlog share transactions: more streams cost no more commits.
func TestRounds_OneTransactionForSeveralStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.Linger = 100 * time.Millisecond
	first := r.config.Streams[0]
	const streams, waves = 6, 15
	for i := 2; i <= streams; i++ {
		r.config.Streams = append(r.config.Streams, fmt.Sprintf("%s:%d", first, i))
	}
	w := r.start()
	for wave := range waves {
		for _, name := range r.config.Streams {
			r.publishTo(name, 1)
		}
		servertest.Until(t, "the wave is stored", func() bool {
			return r.rows() == strconv.Itoa(streams*(wave+1))
		})
	}
	transactions, err := strconv.Atoi(r.ask(`SELECT count(DISTINCT xmin::text)::text FROM positions`)[0])
	require.NoError(t, err)
	t.Logf("%d batches in %d transactions", streams*waves, transactions)
	require.Less(t, transactions, streams*waves/2)
	w.stop()
	r.requireExact()
	require.Zero(t, r.pending())
}

// Another session holds the key of one stream's row: that stream waits, and the others go on although they share
// transactions with it.
func TestRounds_StreamThatHangsDelaysItselfAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hangs := r.config.Streams[0]
	flows := hangs + ":2"
	r.config.Streams = append(r.config.Streams, flows)
	w := r.start()
	stored := func(n int) func() bool { return func() bool { return r.rows() == strconv.Itoa(n) } }
	r.publishTo(hangs, 1)
	r.publishTo(flows, 1)
	servertest.Until(t, "both streams flow", stored(2))

	held := r.record()
	r.published = append(r.published, held.Payload)
	session := servertest.Connect(t, r.database)
	tx, err := session.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `
		INSERT INTO positions (device_id, ts, latitude, longitude, altitude, angle, speed, satellites, priority, attributes)
		SELECT p->>'device_id', (p->>'timestamp')::timestamptz, 0, 0, 0, 0, 0, 0, 0, '{}'
		FROM (SELECT $1::text::jsonb AS p) AS payload`, string(held.Payload))
	require.NoError(t, err)
	require.NoError(t, fleet.NewPublisher(r.redis, hangs, 0).Publish(t.Context(), held))
	servertest.Until(t, "its row waits for the lock", func() bool {
		return r.ask(`SELECT count(*)::text FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'`)[0] != "0"
	})
	for i := range 5 {
		r.publishTo(flows, 10)
		servertest.Until(t, "the other stream's rows are stored", stored(2+10*(i+1)))
	}
	servertest.Until(t, "only the row that hangs is pending", func() bool { return r.pending() == 1 })

	require.NoError(t, tx.Rollback(t.Context()))
	r.awaitDrained()
	w.stop()
	r.requireExact()
}
