package stream

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// fixture is one stream of the test's own, with the state that Redis shows of it.
type fixture struct {
	client redis.UniversalClient
	*Consumer
}

func newFixture(t testing.TB) fixture {
	client, err := Connect(servertest.Redis(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	c := NewConsumer(client, servertest.StreamName(t), "processor", "me")
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return fixture{client, c}
}

// readNew reads into a batch of its own.
func (f fixture) readNew(t testing.TB, count int) (Batch, error) {
	return readNew(t, f.Consumer, count)
}

func readNew(t testing.TB, c *Consumer, count int) (b Batch, err error) {
	_, err = c.ReadNew(t.Context(), &b, count, shortBlock, nil)
	t.Cleanup(func() { _ = c.Close() })
	return b, err
}

func (f fixture) add(t testing.TB, fields ...any) ID {
	text, err := f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: f.stream, Values: fields}).Result()
	require.NoError(t, err)
	id, err := ParseID(text)
	require.NoError(t, err)
	return id
}

// pending lists the group's pending entries as "consumer id deliveries".
func (f fixture) pending(t testing.TB) map[string]int64 {
	entries, err := f.client.XPendingExt(t.Context(), &redis.XPendingExtArgs{
		Stream: f.stream, Group: f.group, Start: "-", End: "+", Count: 1000,
	}).Result()
	require.NoError(t, err)
	pending := map[string]int64{}
	for _, e := range entries {
		pending[e.Consumer+" "+e.ID] = e.RetryCount
	}
	return pending
}

func ids(b Batch) []ID {
	ids := []ID{}
	for _, e := range b.Entries {
		ids = append(ids, e.ID)
	}
	return ids
}
