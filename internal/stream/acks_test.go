package stream

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestConsumer_AcknowledgesWithARead(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	first, second := f.add(t, "payload", "1"), f.add(t, "payload", "2")
	var b Batch
	n, err := f.ReadNew(t.Context(), &b, 10, 0, &Acks{})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, map[string]int64{"me " + first.String(): 1, "me " + second.String(): 1}, f.pending(t))

	third := f.add(t, "payload", "3")
	acks := Acks{IDs: []ID{first, second, {Millis: 1}}} // one that was never there
	n, err = f.ReadNew(t.Context(), &b, 10, 0, &acks)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []ID{first, second, third}, ids(b))
	require.Empty(t, acks.IDs)
	require.NoError(t, acks.Refused)
	require.Equal(t, map[string]int64{"me " + third.String(): 1}, f.pending(t))

	acks.IDs = append(acks.IDs, third)
	n, err = f.ReadNew(t.Context(), &b, 10, shortBlock, &acks)
	require.NoError(t, err)
	require.Zero(t, n, "nothing is new, and the XACK was sent before the wait")
	require.Empty(t, acks.IDs)
	require.Empty(t, f.pending(t))
}

// The read goes on where XACK alone is refused, and the ids stay with the caller.
func TestConsumer_ReadsWhereXACKIsRefused(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.client.Do(t.Context(), "ACL", "SETUSER", f.stream, "on", ">secret", "~*", "+@all", "-xack").Err())
	t.Cleanup(func() { require.NoError(t, f.client.Do(context.Background(), "ACL", "DELUSER", f.stream).Err()) })
	options := *f.client.(*redis.Client).Options()
	options.Username, options.Password = f.stream, "secret"
	limited := redis.NewClient(&options)
	t.Cleanup(func() { require.NoError(t, limited.Close()) })
	c := NewConsumer(limited, f.stream, f.group, "me")
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	_, err := c.EnsureGroup(t.Context())
	require.NoError(t, err)
	id := f.add(t, "payload", "1")
	var b Batch
	acks := Acks{IDs: []ID{id}}
	n, err := c.ReadNew(t.Context(), &b, 10, 0, &acks)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []ID{id}, ids(b))
	require.Equal(t, []ID{id}, acks.IDs)
	require.True(t, redis.IsPermissionError(acks.Refused), "%v", acks.Refused)
	require.Equal(t, map[string]int64{"me " + id.String(): 1}, f.pending(t))
}

// Whatever became of the XACK of a connection that ended, its ids stay: a repetition is harmless.
func TestConsumer_KeepsAcksOfABrokenConnection(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	var b Batch
	_, err = f.ReadNew(t.Context(), &b, 10, 0, nil) // connects
	require.NoError(t, err)
	require.NoError(t, f.wire.conn.Conn.Close())
	acks := Acks{IDs: []ID{{Millis: 1}, {Millis: 2}}}
	_, err = f.ReadNew(t.Context(), &b, 10, 0, &acks)
	require.Error(t, err)
	require.Equal(t, []ID{{Millis: 1}, {Millis: 2}}, acks.IDs)
	require.NoError(t, acks.Refused)
}

// A replica, a full disk or a group that is gone refuse the read, and perhaps not the XACK.
func TestConsumer_AcknowledgesWhereTheReadIsRefused(t *testing.T) {
	f := newFixture(t)
	f.add(t, "payload", "1")
	var b Batch
	acks := Acks{IDs: []ID{{Millis: 1}}}
	_, err := f.ReadNew(t.Context(), &b, 10, 0, &acks)
	require.ErrorIs(t, err, ErrNoGroup)
	require.Empty(t, acks.IDs, "there is no group, so nothing is pending")
}
