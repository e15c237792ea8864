package stream

import (
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func (f fixture) inspect(t testing.TB) Info {
	info, err := Inspect(t.Context(), f.client, f.stream, f.group)
	require.NoError(t, err)
	if info.Group != nil {
		for i := range info.Group.Consumers {
			require.Less(t, info.Group.Consumers[i].Idle, time.Minute)
			info.Group.Consumers[i].Idle = 0
		}
	}
	return info
}

func (f fixture) ack(t testing.TB, ids ...ID) {
	_, err := f.Ack(t.Context(), ids)
	require.NoError(t, err)
}

func counted(n int64) *int64 { return &n }

func TestInspect_TellsOfStreamAndGroup(t *testing.T) {
	f := newFixture(t)
	require.Equal(t, Info{}, f.inspect(t), "no stream")

	first := f.add(t, "payload", "1")
	second := f.add(t, "payload", "2")
	third := f.add(t, "payload", "3")
	want := Info{Exists: true, Length: 3, Added: counted(3), First: first, LastGenerated: third}
	require.Equal(t, want, f.inspect(t), "no group")

	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	want.Group = &GroupInfo{Read: counted(0), Lag: counted(3)}
	require.Equal(t, want, f.inspect(t), "nothing read")

	_, err = f.readNew(t, 2)
	require.NoError(t, err)
	f.ack(t, first)
	want.Group = &GroupInfo{
		LastDelivered: second, Read: counted(2), Lag: counted(1), Pending: 1, OldestPending: second,
		Consumers: []ConsumerInfo{{Name: "me", Pending: 1}},
	}
	require.Equal(t, want, f.inspect(t), "two read, one acknowledged")

	require.NoError(t, f.client.XTrimMinID(t.Context(), f.stream, third.String()).Err())
	want.Length, want.First = 1, third
	require.Equal(t, want, f.inspect(t), "trimmed")
	trimmed, err := CountTrimmedPending(t.Context(), f.client, f.stream, f.group, third, 10)
	require.NoError(t, err)
	require.Equal(t, 1, trimmed)
}

func TestInspect_LeavesOutWhatRedisDoesNotKnow(t *testing.T) {
	f := newFixture(t)
	f.add(t, "payload", "1")
	last := f.add(t, "payload", "2")
	require.NoError(t, f.client.XGroupCreate(t.Context(), f.stream, f.group, "$").Err())
	require.Nil(t, f.inspect(t).Group.Read, "a group that began in the middle")

	deleted := f.add(t, "payload", "3")
	f.add(t, "payload", "4")
	require.NoError(t, f.client.XDel(t.Context(), f.stream, deleted.String()).Err())
	info := f.inspect(t)
	require.Equal(t, deleted, info.MaxDeleted)
	require.Equal(t, &GroupInfo{LastDelivered: last}, info.Group, "an unread entry was deleted")
}

func TestInspect_FailsWhereTheKeyIsNoStream(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.client.Set(t.Context(), f.stream, "text", 0).Err())
	_, err := Inspect(t.Context(), f.client, f.stream, f.group)
	require.True(t, redis.HasErrorPrefix(err, "WRONGTYPE"), err)
	require.ErrorContains(t, err, f.stream)
}

func TestRecentlySettled_LooksBeforeWhatIsInFlight(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	settled := func() []string {
		entries, err := RecentlySettled(t.Context(), f.client, f.stream, f.group, f.inspect(t), 2)
		require.NoError(t, err)
		var payloads []string
		for _, e := range entries {
			payloads = append(payloads, string(e.Payload))
		}
		return payloads
	}
	require.Empty(t, settled(), "nothing was read")

	added := make([]ID, 8)
	for i := range added {
		added[i] = f.add(t, "payload", string(rune('a'+i)))
	}
	gone := NewConsumer(f.client, f.stream, f.group, "gone")
	_, err = readNew(t, gone, 3)
	require.NoError(t, err)
	f.ack(t, added[:2]...)
	_, err = f.readNew(t, 4)
	require.NoError(t, err)
	f.ack(t, added[3:5]...)

	// a b are settled, c is pending for gone, d e are settled, f g pending for me, h is unread.
	require.Equal(t, []string{"g", "f", "b", "a", "e", "d"}, settled())
}

func TestDeadLetters_TakesLettersApart(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	// Fields of one name, bytes that are no text, and fields that look like the letter's own.
	fields := []any{"payload", "first", "b", "\xff\x00\r\n", "payload", "second", FieldReason, "mine", FieldSQLState, "mine"}
	sources := []string{f.add(t, fields...).String(), f.add(t, fields...).String()}
	b, err := f.readNew(t, 2)
	require.NoError(t, err)
	before := time.Now().Truncate(time.Microsecond)
	f.deadLetter(t, []Letter{
		{Entry: &b.Entries[0], Reason: "wrong_type", Detail: "line\nline"},
		{Entry: &b.Entries[1], Reason: "rejected_by_database", Detail: "d", SQLState: "23514"},
	})
	foreign, err := f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: DeadKey(f.stream), Values: []any{FieldReason, "x", "payload", "y"}}).Result()
	require.NoError(t, err)

	letters, err := DeadLetters(t.Context(), f.client, f.stream, ID{}, ID{math.MaxUint64, math.MaxUint64})
	require.NoError(t, err)
	reasons, err := NewestReasons(t.Context(), f.client, f.stream, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"", "rejected_by_database", "wrong_type"}, reasons)
	require.Len(t, letters, 3)
	for i, l := range letters[:2] {
		require.WithinRange(t, l.Time, before, time.Now())
		require.Equal(t, sources[i], l.SourceID)
		require.Equal(t, fields, flat(l.Fields))
		require.Equal(t, "second", string(l.Value("payload")))
		require.Nil(t, l.Value("absent"))
	}
	require.Equal(t, []string{"wrong_type", "line\nline", ""}, []string{letters[0].Reason, letters[0].Detail, letters[0].SQLState})
	require.Equal(t, []string{"rejected_by_database", "d", "23514"}, []string{letters[1].Reason, letters[1].Detail, letters[1].SQLState})
	// What somebody else put there has its fields and nothing more.
	require.Equal(t, []any{FieldReason, "x", "payload", "y"}, flat(letters[2].Fields))
	require.Equal(t, foreign, letters[2].ID.String())
	require.Equal(t, DeadLetter{ID: letters[2].ID, Fields: letters[2].Fields}, letters[2])

	newest, err := NewestDeadLetters(t.Context(), f.client, f.stream, 2)
	require.NoError(t, err)
	require.Equal(t, []ID{letters[2].ID, letters[1].ID}, []ID{newest[0].ID, newest[1].ID})
	second, err := DeadLetters(t.Context(), f.client, f.stream, letters[1].ID, letters[1].ID)
	require.NoError(t, err)
	require.Equal(t, letters[1:2], second)
}

func flat(fields []Field) []any {
	var values []any
	for _, f := range fields {
		values = append(values, string(f.Name), string(f.Value))
	}
	return values
}
