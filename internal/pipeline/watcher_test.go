package pipeline

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

func newConsumer(t testing.TB, name string) (*stream.Consumer, redis.UniversalClient) {
	t.Helper()
	client, err := stream.Connect(servertest.Redis(t))
	require.NoError(t, err)
	c := stream.NewConsumer(client, name, "processor", "me")
	t.Cleanup(func() { require.NoError(t, errors.Join(c.Close(), client.Close())) })
	return c, client
}

func addEntries(t testing.TB, client redis.UniversalClient, name string, n int) {
	t.Helper()
	for range n {
		require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: name, Values: []any{"payload", "x"}}).Err())
	}
}

func read(t testing.TB, c *stream.Consumer, count int) {
	t.Helper()
	n, err := c.ReadNew(t.Context(), new(stream.Batch), count, 0, nil)
	require.NoError(t, err)
	require.Equal(t, count, n)
}

// newStreamOfTen has ten entries, of which the group was given the first ones.
func newStreamOfTen(t testing.TB, given int) (*stream.Consumer, redis.UniversalClient) {
	t.Helper()
	name := servertest.StreamName(t)
	c, client := newConsumer(t, name)
	_, err := c.EnsureGroup(t.Context())
	require.NoError(t, err)
	addEntries(t, client, name, 10)
	read(t, c, given)
	return c, client
}

// What lasts is reported once, and meanwhile the other parts of a look go on.
func TestWatcher_SaysThatItIsBlind(t *testing.T) {
	c, client := newStreamOfTen(t, 1)
	name := c.Stream()
	p, log := newBare(t)
	require.NoError(t, client.XTrimMaxLen(t.Context(), name, 7).Err())
	require.NoError(t, client.Set(t.Context(), stream.DeadKey(name), "no stream", 0).Err())

	w := p.newWatcher(c)
	for range blindAfter - 1 {
		require.True(t, w.watch(t.Context()))
	}
	const lost = "error entries were trimmed from the stream before they were read; they are lost"
	require.Equal(t, []string{lost}, messages(t, log), "the loss is found all the same")
	require.Equal(t, 2.0, testutil.ToFloat64(p.Metrics.TrimmedUnread.WithLabelValues(name)))
	require.True(t, p.Health.Readiness().Ready)

	p.Health.Fail(observe.Reading.OfStream(name), errors.New("down"))
	w.watch(t.Context())
	require.Len(t, messages(t, log), 1, "an outage is the reader's to report")
	p.Health.Recover(observe.Reading.OfStream(name))
	for range 2 {
		w.watch(t.Context())
	}
	const blind = "warn stream cannot be watched: its gauges stand still, and lost entries may go unnoticed"
	require.Equal(t, []string{lost, blind}, messages(t, log))
	require.Contains(t, p.Health.Readiness().Checks["monitor "+name].Error, "WRONGTYPE")

	require.NoError(t, client.Del(t.Context(), stream.DeadKey(name)).Err())
	for range 2 {
		w.watch(t.Context())
	}
	require.Equal(t, []string{lost, blind, "info stream is watched again"}, messages(t, log))
	require.True(t, p.Health.Readiness().Ready)
}

// The gauges answer how far behind the group is, and when it has caught up.
func TestWatcher_ShowsHowFarBehindTheGroupIs(t *testing.T) {
	c, client := newStreamOfTen(t, 3)
	p, _ := newBare(t)
	gauge := gauges(t, p)
	w := p.newWatcher(c)
	w.watch(t.Context())
	unread := gauge("processor_stream_oldest_unread_seconds")
	require.NotContains(t, []string{"absent", "0"}, unread)
	require.Equal(t, "absent", gauge("processor_stream_catch_up_seconds"), "one look shows no pace")
	require.Equal(t, "7", gauge("processor_stream_lag"))

	read(t, c, 5)
	w.watch(t.Context())
	require.NotContains(t, []string{"absent", "0"}, gauge("processor_stream_catch_up_seconds"))

	read(t, c, 2)
	w.watch(t.Context())
	require.Equal(t, []string{"0", "0"}, []string{gauge("processor_stream_oldest_unread_seconds"), gauge("processor_stream_catch_up_seconds")})

	require.NoError(t, client.Del(t.Context(), c.Stream()).Err())
	w.watch(t.Context())
	require.Equal(t, "absent", gauge("processor_stream_oldest_unread_seconds"), "there is no group")
}

// A user that may not use XRANGE has no such age, and everything else.
func TestWatcher_ShowsTheRestWithoutTheRightToReadEntries(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	owner, err := stream.Connect(server.URL())
	require.NoError(t, err)
	require.NoError(t, owner.Do(t.Context(), "ACL", "SETUSER", "worker", "on", ">pw", "~*", "+@all", "-xrange").Err())
	client, err := stream.Connect(strings.Replace(server.URL(), "redis://", "redis://worker:pw@", 1))
	require.NoError(t, err)
	c := stream.NewConsumer(client, "s", "processor", "me")
	t.Cleanup(func() { require.NoError(t, errors.Join(c.Close(), client.Close(), owner.Close())) })
	_, err = c.EnsureGroup(t.Context())
	require.NoError(t, err)
	addEntries(t, owner, "s", 3)
	read(t, c, 1)
	p, log := newBare(t)
	gauge := gauges(t, p)
	w := p.newWatcher(c)
	for range blindAfter + 1 {
		w.watch(t.Context())
	}
	require.Empty(t, messages(t, log))
	require.Equal(t, []string{"absent", "2"}, []string{gauge("processor_stream_oldest_unread_seconds"), gauge("processor_stream_lag")})
}

// A stream that nothing was ever added to may have the wrong name: this is said once, at the start.
func TestWatcher_SaysThatAStreamWasNeverFed(t *testing.T) {
	const never = "warn stream did not exist: nothing was ever added to it"
	for name, c := range map[string]struct {
		prepare func(*stream.Consumer, redis.UniversalClient)
		want    []string
	}{
		"no stream":            {func(*stream.Consumer, redis.UniversalClient) {}, []string{never}},
		"created by the group": {func(c *stream.Consumer, _ redis.UniversalClient) { _, _ = c.EnsureGroup(t.Context()) }, []string{never}},
		"an entry":             {func(c *stream.Consumer, client redis.UniversalClient) { addEntries(t, client, c.Stream(), 1) }, []string{}},
		"trimmed to nothing": {func(c *stream.Consumer, client redis.UniversalClient) {
			addEntries(t, client, c.Stream(), 1)
			client.XTrimMaxLen(t.Context(), c.Stream(), 0)
		}, []string{}},
	} {
		consumer, client := newConsumer(t, servertest.StreamName(t)+name)
		c.prepare(consumer, client)
		p, log := newBare(t)
		w := p.newWatcher(consumer)
		for range 2 {
			w.watch(t.Context())
		}
		require.ElementsMatch(t, c.want, messages(t, log), name)
	}
}

// A server that leaves out half of what Redis tells is watched all the same: nothing fails.
func TestWatcher_WatchesMiniredis(t *testing.T) {
	url, stop, err := sandbox.StartMiniredis()
	require.NoError(t, err)
	t.Cleanup(stop)
	client, err := stream.Connect(url)
	require.NoError(t, err)
	consumer := stream.NewConsumer(client, "s", "processor", "me")
	t.Cleanup(func() { require.NoError(t, errors.Join(consumer.Close(), client.Close())) })
	_, err = consumer.EnsureGroup(t.Context())
	require.NoError(t, err)
	addEntries(t, client, "s", 3)
	read(t, consumer, 2)
	p, log := newBare(t)
	w := p.newWatcher(consumer)
	for range blindAfter + 1 {
		w.watch(t.Context())
	}
	require.Empty(t, messages(t, log))
	require.True(t, p.Health.Readiness().Ready)
}
