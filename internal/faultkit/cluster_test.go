package faultkit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// awaitPrimary waits until a replica has taken over, and returns how long that took.
func awaitPrimary(t testing.TB, n *node) time.Duration {
	t.Helper()
	began := time.Now()
	servertest.Until(t, "the replica is the primary", func() bool { return n.info(t, "role") == "master" })
	return time.Since(began)
}

// A primary is killed under load: its replica takes over, the worker follows, and every position that a replica had is a
// row. The streams of the other primaries go on. When the old one comes back as a replica, nothing changes.
func TestCluster_PrimaryIsKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, true)
	r := newClusterRig(t, c)
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	wait := r.replicating(2000, 500, r.toPrimary)
	awaitStored(t, w, 500)

	require.NoError(t, c.primaries[0].Kill())
	began := time.Now()
	servertest.Until(t, "not ready", func() bool { return !w.ready() })
	took := awaitPrimary(t, c.replicas[0])
	servertest.Until(t, "ready again", w.ready)
	t.Logf("the replica took over after %v, the worker was ready again %v after the kill",
		took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	require.True(t, w.alive())
	require.NoError(t, c.primaries[0].Restart(t.Context()))
	servertest.Until(t, "the old primary is a replica", func() bool { return c.primaries[0].info(t, "role") == "slave" })
	awaitStored(t, w, 500)
	wait()
	r.awaitDrained()
	l := w.stop()
	t.Logf("%+v", l)
	require.Equal(t, 6000, l.Inserted)
	r.requireExact()
}

// A replica is promoted in order (CLUSTER FAILOVER), again and again under load: every position is a row.
func TestCluster_FailsOverInOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, true)
	r := newClusterRig(t, c)
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	wait := r.replicating(2000, 1000, r.toPrimary)
	for i, n := range []*node{c.replicas[0], c.replicas[1], c.primaries[0]} {
		awaitStored(t, w, 500)
		n.do(t, "CLUSTER FAILOVER")
		took := awaitPrimary(t, n)
		servertest.Until(t, "ready", w.ready)
		t.Logf("failover %d after %v", i+1, took.Round(time.Millisecond))
	}
	wait()
	r.awaitDrained()
	l := w.stop()
	t.Logf("%+v", l)
	require.Equal(t, 6000, l.Inserted)
	r.requireExact()
}

// move moves a stream's slot, with all keys in it, from one node to another; between is called in its middle.
func (c *cluster) move(name string, from, to *node, between func()) {
	c.t.Helper()
	slot := from.client.ClusterKeySlot(c.t.Context(), name).Val()
	to.do(c.t, "CLUSTER SETSLOT", slot, "IMPORTING", from.id)
	from.do(c.t, "CLUSTER SETSLOT", slot, "MIGRATING", to.id)
	host, port, _ := strings.Cut(to.Address(), ":")
	for {
		keys := from.client.ClusterGetKeysInSlot(c.t.Context(), int(slot), 100).Val()
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			from.do(c.t, "MIGRATE", host, port, key, 0, 30_000)
		}
	}
	between()
	for _, n := range []*node{to, from} {
		n.do(c.t, "CLUSTER SETSLOT", slot, "NODE", to.id)
	}
}

// The slot of a stream is moved to another node and back under load. Between its keys and its slot, when the old node says
// ASK, and where that lasts, the worker reads from the new node. It has the rights that the page about users lists.
func TestCluster_SlotIsMoved(t *testing.T) {
	t.Parallel()
	c := newCluster(t, true)
	r := newClusterRig(t, c)
	all := append(c.primaries, c.replicas...)
	setUser(t, all, "processor", append(workerRights(t, r.config.Streams...), moreRights(t, "Redis Cluster"))...)
	r.config.Redis.URL = withUser(c.url(), "processor:pw")
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	from, to := c.primaries[0], c.primaries[1]
	for range 2 {
		wait := r.publishing(4000, 2000)
		awaitStored(t, w, 1000)
		c.move(r.config.Streams[0], from, to, func() { awaitStored(t, w, 1000) })
		servertest.Until(t, "ready again", w.ready)
		wait()
		from, to = to, from
	}
	r.awaitDrained()
	l := w.stop()
	t.Logf("%+v", l)
	require.Equal(t, 8000, l.Inserted)
	r.requireExact()
	requireNothingDenied(t, all)
}

// withUser is a Redis URL with user and password.
func withUser(url, user string) string {
	return strings.Replace(url, "redis://", "redis://"+user+"@", 1)
}

// awaitLogged waits until the log names an error of reading with its fix.
func awaitLogged(t testing.TB, w *worker, code, fix string) {
	t.Helper()
	servertest.Until(t, "the log names "+code+" and the fix", func() bool {
		for _, line := range w.lines("stream cannot be read; retrying") {
			if strings.Contains(fmt.Sprint(line["error"]), code) && strings.Contains(fmt.Sprint(line["hint"]), fix) {
				return true
			}
		}
		return false
	})
}

// A primary without a replica is killed: CLUSTERDOWN is in the log and in /readyz, with the fix, for all streams, since a
// cluster by default serves none then. When it is back, all rows are there.
func TestCluster_IsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	r := newClusterRig(t, c)
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	for _, name := range r.config.Streams {
		r.publishTo(name, 500)
	}
	r.awaitDrained()
	require.NoError(t, c.primaries[0].Kill())
	const fix = "redis-cli --cluster check"
	for _, name := range r.config.Streams[1:] {
		servertest.Until(t, "/readyz names CLUSTERDOWN and the fix", func() bool {
			failing := w.failing("stream " + name)
			return strings.Contains(failing, "CLUSTERDOWN") && strings.Contains(failing, ". Fix: ") && strings.Contains(failing, fix)
		})
	}
	awaitLogged(t, w, "CLUSTERDOWN", fix)
	require.True(t, w.alive())
	require.NoError(t, c.primaries[0].Restart(t.Context()))
	servertest.Until(t, "ready again", w.ready)
	for _, name := range r.config.Streams {
		r.publishTo(name, 500)
	}
	r.awaitDrained()
	require.Equal(t, 3000, w.stop().Inserted)
	r.requireExact()
}

// A node that has none of the worker's streams is killed, in a cluster that goes on without it: the worker stays ready.
func TestCluster_AnotherNodeIsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	for _, n := range c.primaries {
		n.do(t, "CONFIG SET cluster-require-full-coverage no")
	}
	r := newClusterRig(t, c)
	r.config.Streams = r.config.Streams[:2]
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	require.NoError(t, c.primaries[2].Kill())
	servertest.Until(t, "the node is taken for dead", func() bool {
		return strings.Contains(c.primaries[0].client.ClusterInfo(t.Context()).Val(), "cluster_slots_fail:546")
	})
	for range 20 {
		for _, name := range r.config.Streams {
			r.publishTo(name, 50)
		}
		r.awaitDrained()
		require.True(t, w.ready(), w.Log())
	}
	require.Empty(t, w.lines("check is failing"))
	require.Empty(t, w.lines("stream cannot be read; retrying"))
	require.Equal(t, 2000, w.stop().Inserted)
	r.requireExact()
}

// REDIS_URL names one node of a cluster as if it were a server by itself: MOVED is in the log and in /readyz with the fix.
func TestCluster_URLNamesOneNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	r := newClusterRig(t, c)
	r.config.Streams = r.config.Streams[:1]
	r.config.Redis.URL = c.primaries[1].URL()
	r.publish(100)
	w := r.start()
	const fix = "where REDIS_URL lacks ?addr=HOST:PORT"
	servertest.Until(t, "/readyz names MOVED and the fix", func() bool {
		failing := w.failing("stream " + r.config.Streams[0])
		return strings.Contains(failing, "MOVED") && strings.Contains(failing, fix)
	})
	awaitLogged(t, w, "MOVED", fix)
	w.end()

	r.config.Redis.URL += "?addr=" + c.primaries[2].Address()
	w = r.start()
	r.awaitDrained()
	require.Equal(t, 100, w.stop().Inserted)
	r.requireExact()
}

// A node of which slots were never assigned, or were taken away.
func TestCluster_SlotsAreNotAssigned(t *testing.T) {
	t.Parallel()
	n := newNode(t, sandbox.RedisOptions{Cluster: true})
	r := newRigOn(t, n.URL()+"?addr="+n.Address(), servertest.Migrated(t))
	w := r.start()
	check := "stream " + r.config.Streams[0]
	servertest.Until(t, "/readyz names it", func() bool {
		_, body := w.get("/readyz")
		return strings.Contains(body, "slot")
	})
	t.Log(w.failing(check), w.failing("redis"))
	require.True(t, w.alive())
	n.do(t, "CLUSTER ADDSLOTSRANGE", 0, slots-1)
	servertest.Until(t, "ready", w.ready)
	r.publish(100)
	r.awaitDrained()
	require.Equal(t, 100, w.stop().Inserted)
	r.requireExact()
}
