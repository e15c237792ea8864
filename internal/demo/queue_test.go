package demo

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

func TestQueue_TrimsWhatIsDone(t *testing.T) {
	client, err := stream.Connect(servertest.NewRedis(t, sandbox.RedisOptions{}).URL())
	require.NoError(t, err)
	defer client.Close()
	q := &queue{client: client, stream: streamName, group: groupName}
	_, err = q.drained(t.Context())
	require.Error(t, err, "there is no group")

	require.NoError(t, client.XGroupCreateMkStream(t.Context(), streamName, groupName, "0").Err())
	read := uint64(0)
	// requireState trims and compares the remaining entries of the stream.
	requireState := func(drained bool, left ...string) {
		t.Helper()
		require.NoError(t, q.trim(t.Context(), read))
		messages, err := client.XRange(t.Context(), streamName, "-", "+").Result()
		require.NoError(t, err)
		var ids []string
		for _, m := range messages {
			ids = append(ids, m.ID)
		}
		require.Equal(t, left, ids)
		got, err := q.drained(t.Context())
		require.NoError(t, err)
		require.Equal(t, drained, got)
	}
	add := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: streamName, ID: id, Values: []string{"k", "v"}}).Err())
		}
	}
	deliver := func(count int64) {
		t.Helper()
		require.NoError(t, client.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group: groupName, Consumer: "demo", Streams: []string{streamName, ">"}, Count: count,
		}).Err())
		read += uint64(count)
	}
	ack := func(ids ...string) {
		t.Helper()
		require.NoError(t, client.XAck(t.Context(), streamName, groupName, ids...).Err())
	}

	requireState(true)
	add("1-0", "2-0", "3-0", "4-0", "5-0")
	requireState(false, "1-0", "2-0", "3-0", "4-0", "5-0")
	deliver(4)
	requireState(false, "1-0", "2-0", "3-0", "4-0", "5-0")
	ack("1-0", "2-0", "4-0")
	deliver(1)
	requireState(false, "3-0", "4-0", "5-0")
	ack("3-0", "5-0")
	add("6-0")
	deliver(1)
	requireState(false, "6-0")
	ack("6-0")
	requireState(true, "6-0")

	q.reserve = 2
	add("7-0", "8-0", "9-0", "10-0")
	for _, step := range []struct {
		id   string
		left []string
	}{
		{"7-0", []string{"6-0", "7-0", "8-0", "9-0", "10-0"}},
		{"8-0", []string{"6-0", "7-0", "8-0", "9-0", "10-0"}},
		{"9-0", []string{"7-0", "8-0", "9-0", "10-0"}},
		{"10-0", []string{"8-0", "9-0", "10-0"}},
	} {
		deliver(1)
		ack(step.id)
		requireState(step.id == "10-0", step.left...)
	}
}
