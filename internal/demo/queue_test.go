package demo

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/deadletter"
	"processor/internal/fleet"
	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

func TestQueue_TrimsWhatIsDone(t *testing.T) {
	client, err := stream.Connect(servertest.NewRedis(t, sandbox.RedisOptions{}).URL())
	require.NoError(t, err)
	defer client.Close()
	q := &queue{client: client, stream: StreamName, group: GroupName}
	_, err = q.drained(t.Context())
	require.Error(t, err, "there is no group")

	require.NoError(t, client.XGroupCreateMkStream(t.Context(), StreamName, GroupName, "0").Err())
	read := uint64(0)
	// requireState trims and compares the remaining entries of the stream.
	requireState := func(drained bool, left ...string) {
		t.Helper()
		require.NoError(t, q.trim(t.Context(), read))
		messages, err := client.XRange(t.Context(), StreamName, "-", "+").Result()
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
			require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: StreamName, ID: id, Values: []string{"k", "v"}}).Err())
		}
	}
	deliver := func(count int64) {
		t.Helper()
		require.NoError(t, client.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group: GroupName, Consumer: "demo", Streams: []string{StreamName, ">"}, Count: count,
		}).Err())
		read += uint64(count)
	}
	ack := func(ids ...string) {
		t.Helper()
		require.NoError(t, client.XAck(t.Context(), StreamName, GroupName, ids...).Err())
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

func TestQueue_ReturnsTheNewestValidEntries(t *testing.T) {
	client, err := stream.Connect(servertest.NewRedis(t, sandbox.RedisOptions{}).URL())
	require.NoError(t, err)
	defer client.Close()
	q := &queue{client: client, stream: StreamName, group: GroupName}
	requireValid := func(count int, want ...fleet.Record) {
		t.Helper()
		got, err := q.valid(t.Context(), count)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	requireValid(3)
	newest, err := q.newest(t.Context())
	require.NoError(t, err)
	require.Zero(t, newest)

	publisher := fleet.NewPublisher(client, StreamName, 0)
	vehicles := fleet.New(fleet.Options{Devices: 3, Start: noon})
	good := []fleet.Record{vehicles.Next(noon), vehicles.Next(noon), vehicles.Next(noon)}
	require.NoError(t, publisher.Publish(t.Context(), good[0]))
	require.NoError(t, publisher.Publish(t.Context(), good[1]))
	require.NoError(t, publisher.Publish(t.Context(), badRecords(0, noon)...))
	require.NoError(t, publisher.Publish(t.Context(), good[2]))

	requireValid(1, good[2])
	requireValid(2, good[2], good[1])
	requireValid(9, good[2], good[1], good[0])
	last, err := q.newest(t.Context())
	require.NoError(t, err)

	require.NoError(t, client.XGroupCreateMkStream(t.Context(), StreamName, GroupName, "0").Err())
	requireDone := func(want bool, upTo stream.ID) {
		t.Helper()
		got, err := q.done(t.Context(), upTo)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	requireDone(false, last)
	messages, err := client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: GroupName, Consumer: "demo", Streams: []string{StreamName, ">"}}).Result()
	require.NoError(t, err)
	requireDone(false, last)
	for _, m := range messages[0].Messages[:14] {
		require.NoError(t, client.XAck(t.Context(), StreamName, GroupName, m.ID).Err())
	}
	requireDone(false, last)
	requireDone(true, last.Previous())
	require.NoError(t, client.XAck(t.Context(), StreamName, GroupName, last.String()).Err())
	requireDone(true, last)
	requireDone(false, last.Next())
}

func TestQueue_CountsABadEntryOnce(t *testing.T) {
	client, err := stream.Connect(servertest.NewRedis(t, sandbox.RedisOptions{}).URL())
	require.NoError(t, err)
	defer client.Close()
	q := &queue{client: client, stream: StreamName, group: GroupName}
	found, err := q.letters(t.Context())
	require.NoError(t, err)
	require.Equal(t, letters{byReason: deadletter.Tally{}}, found)

	for _, l := range [][]string{
		{"bad-1", "not_json"}, {"bad-2", "too_deep"}, {"bad-1", "not_json"}, {"356307042441013", "wrong_type"},
	} {
		require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: stream.DeadKey(StreamName),
			Values: []string{"device_id", l[0], "payload", "{}", stream.FieldReason, l[1],
				stream.FieldDetail, "", stream.FieldSourceID, "1-0", stream.FieldTime, "2026-11-26T10:15:04Z"}}).Err())
	}
	found, err = q.letters(t.Context())
	require.NoError(t, err)
	require.Equal(t, letters{total: 4, byReason: deadletter.Tally{"not_json": 2, "too_deep": 1, "wrong_type": 1}, bad: 2, other: 1}, found)
	require.Equal(t, "not_json 2, too_deep 1, wrong_type 1", found.reasons())
	n, err := q.countLetters(t.Context())
	require.NoError(t, err)
	require.Equal(t, found.total, n)
}
