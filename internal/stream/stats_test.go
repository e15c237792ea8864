package stream

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// A state that is waited for is looked for so often, and must come within this time.
const (
	poll     = 10 * time.Millisecond
	deadline = 30 * time.Second
)

// observer is a worker as far as lost entries go: it looks when it joins, reads, and looks now and then.
type observer struct {
	fixture
	lost, doubtful int64
}

func newObserver(t testing.TB, url string) *observer {
	client, err := Connect(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	c := NewConsumer(client, "s", "processor", "me")
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	r := &observer{fixture: fixture{client, c}}
	r.join(t)
	return r
}

func (r *observer) join(t testing.TB) {
	_, err := r.EnsureGroup(t.Context())
	require.NoError(t, err)
	r.look(t)
}

func (r *observer) look(t testing.TB) Stats {
	stats, err := r.Stats(t.Context())
	require.NoError(t, err)
	settled, err := r.Settle(t.Context(), stats)
	require.NoError(t, err)
	if settled {
		r.lost += stats.TrimmedUnread
		r.doubtful += stats.Doubtful
	}
	return stats
}

// read reads and acknowledges everything, in several reads.
func (r *observer) read(t testing.TB) {
	for {
		var batch Batch
		n, err := r.ReadNew(t.Context(), &batch, 7, 0, nil)
		require.NoError(t, err)
		r.lost += batch.TrimmedUnread
		if n == 0 {
			return
		}
		_, err = r.Ack(t.Context(), ids(batch))
		require.NoError(t, err)
	}
}

func (r *observer) addMany(t testing.TB, n int) {
	for range n {
		r.add(t, "payload", "x")
	}
}

func (r *observer) trim(t testing.TB, n int64) {
	require.NoError(t, r.client.XTrimMaxLen(t.Context(), "s", n).Err())
}

// requireCounts loses entries for certain, and requires that these are counted to the last one.
func (r *observer) requireCounts(t testing.TB) {
	before := r.lost
	r.addMany(t, 20)
	r.trim(t, 5)
	r.look(t)
	require.Equal(t, before+15, r.lost)
	r.read(t)
	r.look(t)
	require.Equal(t, before+15, r.lost, "counted once")
}

// aged is a Redis on which 100 entries were read, and where trimmed 60 of them trimmed afterwards; then
// rewritten, and 40 more were read.
func aged(t testing.TB, trimmed bool) (*sandbox.Redis, *observer) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true})
	r := newObserver(t, server.URL())
	r.addMany(t, 100)
	r.read(t)
	r.look(t)
	if trimmed {
		r.trim(t, 40)
	}
	require.NoError(t, r.client.BgRewriteAOF(t.Context()).Err())
	require.Eventually(t, func() bool {
		info := r.client.Info(t.Context(), "persistence").Val()
		return strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0")
	}, deadline, poll)
	r.addMany(t, 40)
	r.read(t)
	return server, r
}

// Redis 7 writes no entries-read to the append-only file when entries are read.
func TestStats_ReportsNoLossAfterARestart(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		server, r := aged(t, trimmed)
		require.NoError(t, server.Restart(t.Context()))
		require.NoError(t, r.Close())
		fresh := newObserver(t, server.URL())
		for _, r := range []*observer{r, fresh} {
			r.join(t)
			r.addMany(t, 3)
			r.read(t)
			r.look(t)
			require.Zero(t, r.lost)
			require.Equal(t, int64(0), *r.look(t).Lag)
		}
		if !trimmed {
			require.Zero(t, r.doubtful+fresh.doubtful)
		}
		t.Logf("trimmed %t: %d entries in doubt", trimmed, r.doubtful+fresh.doubtful)
		fresh.requireCounts(t)
		require.Zero(t, r.lost)
	}
}

// Before anybody looks after the restart a stream that was trimmed is read further and trimmed again.
func TestStats_ReportsNoLossWhereReadsComeFirst(t *testing.T) {
	server, r := aged(t, true)
	require.NoError(t, server.Restart(t.Context()))
	r.addMany(t, 200)
	old := NewConsumer(r.client, "s", "processor", "old version") // reads without looking
	for range 2 {
		_, err := readNew(t, old, 100)
		require.NoError(t, err)
	}
	r.trim(t, 10)
	require.NoError(t, r.Close())
	r.join(t)
	r.read(t)
	r.look(t)
	require.Zero(t, r.lost)
	r.requireCounts(t)
}

// The count is not replicated either. After the failover back the first server has a count of its own.
func TestStats_ReportsNoLossAfterAFailover(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		first, r := aged(t, trimmed)
		second := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true})
		r = failOver(t, r, first, second)
		r.addMany(t, 50)
		r.read(t)
		r.look(t)
		require.Zero(t, r.lost)
		r.requireCounts(t)

		r = failOver(t, r, second, first)
		r.addMany(t, 5)
		r.read(t)
		r.look(t)
		require.Zero(t, r.lost, "failed over back")
		r.requireCounts(t)
	}
}

// failOver makes to a replica, reads 40 entries more, and promotes it.
func failOver(t testing.TB, r *observer, from, to *sandbox.Redis) *observer {
	admin, err := Connect(to.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	host, port, _ := strings.Cut(strings.TrimPrefix(from.URL(), "redis://"), ":")
	require.NoError(t, admin.Do(t.Context(), "REPLICAOF", host, port).Err())
	synced := func() bool {
		return strings.Contains(admin.Info(t.Context(), "replication").Val(), "master_link_status:up") &&
			admin.XLen(t.Context(), "s").Val() == r.client.XLen(t.Context(), "s").Val()
	}
	require.Eventually(t, synced, deadline, poll)
	r.addMany(t, 40)
	r.read(t)
	require.NoError(t, r.client.Do(t.Context(), "WAIT", 1, 30_000).Err())
	require.NoError(t, admin.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	return newObserver(t, to.URL())
}

// Somebody sets the group or the stream to anything.
func TestStats_ReportsNoLossAfterSETID(t *testing.T) {
	cases := map[string][]string{
		"to the beginning":                    {"XGROUP SETID s processor 0"},
		"to the beginning, nothing read":      {"XGROUP SETID s processor 0 ENTRIESREAD 0"},
		"to the middle":                       {"XGROUP SETID s processor MIDDLE"},
		"to the middle, too few":              {"XGROUP SETID s processor MIDDLE ENTRIESREAD 7"},
		"to the middle, too many":             {"XGROUP SETID s processor MIDDLE ENTRIESREAD 1000"},
		"to the end, nothing read":            {"XGROUP SETID s processor $ ENTRIESREAD 0"},
		"to the end, as many as before":       {"XADD s * payload x", "XGROUP SETID s processor $ ENTRIESREAD 100"},
		"the group made anew at the end":      {"XGROUP DESTROY s processor", "XGROUP CREATE s processor $"},
		"the group made anew in the middle":   {"XGROUP DESTROY s processor", "XGROUP CREATE s processor MIDDLE"},
		"the group made anew, with a count":   {"XGROUP DESTROY s processor", "XGROUP CREATE s processor MIDDLE ENTRIESREAD 3"},
		"the group made anew at 0":            {"XGROUP DESTROY s processor", "XGROUP CREATE s processor 0"},
		"the group is gone":                   {"XGROUP DESTROY s processor"},
		"the stream's last id":                {"XSETID s 9999999999999-0"},
		"the stream is deleted":               {"DEL s"},
		"the stream is deleted, others added": {"DEL s", "XADD s * payload x"},
	}
	for name, commands := range cases {
		for _, fresh := range []bool{false, true} { // another worker looks first
			t.Run(name, func(t *testing.T) {
				url := servertest.NewRedis(t, sandbox.RedisOptions{}).URL()
				r := newObserver(t, url)
				r.addMany(t, 100)
				r.read(t)
				r.look(t)
				r.trim(t, 40)
				r.look(t)
				middle := r.client.XRangeN(t.Context(), "s", "-", "+", 20).Val()[19].ID
				for _, command := range commands {
					var args []any
					for _, word := range strings.Fields(strings.ReplaceAll(command, "MIDDLE", middle)) {
						args = append(args, word)
					}
					require.NoError(t, r.client.Do(t.Context(), args...).Err(), command)
				}
				readers := []*observer{r}
				if fresh {
					readers = []*observer{newObserver(t, url), r}
				}
				last := readers[len(readers)-1]
				for _, r := range readers {
					r.join(t)
					if r.client.XInfoStream(t.Context(), "s").Val().LastGeneratedID != "9999999999999-0" {
						r.addMany(t, 3)
					}
					r.read(t)
					r.look(t)
					require.Zero(t, r.lost)
				}
				if !strings.HasPrefix(commands[0], "XSETID") {
					last.requireCounts(t)
				}
			})
		}
	}
}

// Entries are trimmed while no worker runs: the count was right when the last one looked, and Redis is
// still the same. A worker that finds no such note reports nothing for certain.
func TestStats_CountsWhatWasTrimmedWhileNobodyRan(t *testing.T) {
	url := servertest.NewRedis(t, sandbox.RedisOptions{}).URL()
	r := newObserver(t, url)
	r.addMany(t, 50)
	r.read(t)
	r.addMany(t, 20)
	r.trim(t, 5)
	fresh := newObserver(t, url)
	require.Equal(t, int64(15), fresh.lost)
	require.Zero(t, fresh.doubtful)

	r.addMany(t, 20)
	r.trim(t, 5)
	require.NoError(t, r.client.Del(t.Context(), CountedKey("s")).Err())
	another := newObserver(t, url)
	require.Zero(t, another.lost)
	require.Equal(t, int64(20), another.doubtful)
	another.read(t)
	another.requireCounts(t)
}

// Without INFO and the note a worker still knows what it saw itself.
func TestStats_CountsWithoutRights(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	admin, err := Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "limited", "on", ">pw", "~s", "+@all", "-info").Err())
	r := newObserver(t, strings.Replace(server.URL(), "redis://", "redis://limited:pw@", 1))
	r.addMany(t, 100)
	r.read(t)
	r.look(t)
	r.requireCounts(t)
}

// What a server does not tell is not known, and no error: miniredis lacks half of it.
func TestStats_KnowsWhatAServerDoesNotTell(t *testing.T) {
	url, stop, err := sandbox.StartMiniredis()
	require.NoError(t, err)
	t.Cleanup(stop)
	r := newObserver(t, url)
	r.addMany(t, 3)
	r.read(t)
	stats := r.look(t)
	require.Nil(t, stats.Added)
	require.Equal(t, int64(3), stats.Length)
	require.Zero(t, stats.TrimmedUnread+stats.Doubtful)
	info, err := Inspect(context.WithoutCancel(t.Context()), r.client, "s", "processor")
	require.NoError(t, err)
	require.True(t, info.Exists)
	require.Nil(t, info.Added)
}

// The payloads of the first and the last entry stay within Redis.
func TestStats_MovesNoPayload(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	large := strings.Repeat("x", 8<<20)
	for range 2 {
		f.add(t, "payload", large)
	}
	sent := func() int64 {
		var n int64
		for line := range strings.Lines(f.client.Info(t.Context(), "stats").Val()) {
			if text, found := strings.CutPrefix(strings.TrimSpace(line), "total_net_output_bytes:"); found {
				var err error
				n, err = strconv.ParseInt(text, 10, 64)
				require.NoError(t, err)
			}
		}
		return n
	}
	before := sent()
	_, err = f.Stats(t.Context())
	require.NoError(t, err)
	f.inspect(t)
	require.Less(t, sent()-before, int64(1<<20))
}

func TestState_Lost(t *testing.T) {
	id := func(n uint64) ID { return ID{Millis: n} }
	n := func(n int64) *int64 { return &n }
	cases := map[string]struct {
		state state
		exact bool
		want  lost
	}{
		"no group":                   {state{exists: true, length: 3, added: n(9)}, true, lost{}},
		"all read":                   {state{length: 3, added: n(9), first: id(7), lastGenerated: id(9), lastDelivered: id(9), read: n(9)}, true, lost{read: n(9)}},
		"between":                    {state{length: 3, added: n(9), first: id(7), lastGenerated: id(9), lastDelivered: id(8), read: n(2)}, true, lost{}},
		"trimmed unread":             {state{length: 3, added: n(9), first: id(7), lastGenerated: id(9), lastDelivered: id(4), read: n(4)}, true, lost{entries: 2, read: n(6)}},
		"perhaps trimmed unread":     {state{length: 3, added: n(9), first: id(7), lastGenerated: id(9), lastDelivered: id(4), read: n(4)}, false, lost{doubtful: 2, read: n(6)}},
		"no more than was trimmed":   {state{length: 8, added: n(9), first: id(2), lastGenerated: id(9), lastDelivered: id(9), read: n(4)}, true, lost{entries: 1, read: n(9)}},
		"nothing was trimmed":        {state{length: 9, added: n(9), first: id(1), lastGenerated: id(9), lastDelivered: id(9), read: n(4)}, false, lost{read: n(9)}},
		"everything is gone":         {state{added: n(9), lastGenerated: id(9), lastDelivered: id(4), read: n(4)}, true, lost{entries: 5, read: n(9)}},
		"Redis has no count":         {state{length: 3, added: n(9), first: id(7), lastGenerated: id(9), lastDelivered: id(9)}, true, lost{read: n(9)}},
		"the server has no such sum": {state{length: 3, first: id(7), lastGenerated: id(9), lastDelivered: id(9), read: n(4)}, true, lost{}},
		"it counted too many":        {state{length: 3, added: n(9), first: id(7), lastGenerated: id(9), lastDelivered: id(9), read: n(99)}, true, lost{read: n(9)}},
		"set to the beginning":       {state{length: 3, added: n(9), first: id(7), lastGenerated: id(9), read: n(0)}, false, lost{read: n(6)}},
		"first and last are missing": {state{length: 3, added: n(9), lastDelivered: id(9), read: n(4)}, true, lost{}},
	}
	for name, c := range cases {
		c.state.exists, c.state.hasGroup = true, name != "no group"
		require.Equal(t, c.want, c.state.lost(c.exact), name)
	}
}

func TestStats_FailsWhereTheKeyIsNoStream(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.client.Set(t.Context(), f.stream, "text", 0).Err())
	_, err := f.Stats(t.Context())
	require.True(t, redis.HasErrorPrefix(err, "WRONGTYPE"), err)
}
