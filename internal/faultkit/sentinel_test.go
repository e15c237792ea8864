package faultkit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// sentinels are three Sentinels that watch a primary with a replica, under the name "telemetry".
type sentinels struct {
	t         testing.TB
	sentinels []*node
	servers   []*node // the primary first
}

func newSentinels(t testing.TB) *sentinels {
	t.Helper()
	s := &sentinels{t: t}
	for range 2 {
		s.servers = append(s.servers, newNode(t, sandbox.RedisOptions{AppendOnly: true, ExtraArgs: []string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}}))
	}
	host, port, _ := strings.Cut(s.servers[0].Address(), ":")
	s.servers[1].do(t, "REPLICAOF", host, port)
	servertest.Until(t, "the replica is in sync", func() bool { return s.servers[1].info(t, "master_link_status") == "up" })
	for range 3 {
		n := newNode(t, sandbox.RedisOptions{Sentinel: true})
		n.do(t, "SENTINEL MONITOR telemetry", host, port, 2)
		n.do(t, "SENTINEL SET telemetry down-after-milliseconds 1000 failover-timeout 5000")
		s.sentinels = append(s.sentinels, n)
	}
	for _, n := range s.sentinels {
		servertest.Until(t, "the Sentinels know each other and the replica", func() bool {
			about := fmt.Sprint(n.client.Do(t.Context(), "SENTINEL", "MASTER", "telemetry").Val())
			return strings.Contains(about, "num-other-sentinels:2") && strings.Contains(about, "num-slaves:1") ||
				strings.Contains(about, "num-other-sentinels 2") && strings.Contains(about, "num-slaves 1")
		})
	}
	return s
}

func (s *sentinels) url() string {
	return s.sentinels[0].URL() + "?master_name=telemetry&addr=" + s.sentinels[1].Address() + "&addr=" + s.sentinels[2].Address()
}

// toPrimaryOf connects to the primary that the Sentinels name.
func toPrimaryOf(r *rig) func(string) (*redis.Conn, error) {
	return func(string) (*redis.Conn, error) { return r.redis.(*redis.Client).Conn(), nil }
}

// The primary is lost or handed over under load, once each way: the Sentinels promote the replica, the worker follows, its
// connection for reads too, and every position that the replica had is a row.
func TestSentinel_FailsOver(t *testing.T) {
	for name, c := range map[string]struct {
		lose    func(*testing.T, *sentinels)
		planned bool
		back    func(*testing.T, *node)
	}{
		"killed": {
			lose: func(t *testing.T, s *sentinels) { require.NoError(t, s.servers[0].Kill()) },
			back: func(t *testing.T, n *node) {
				require.NoError(t, n.Restart(t.Context()))
			},
		},
		"hangs": {
			lose: func(t *testing.T, s *sentinels) { require.NoError(t, s.servers[0].Pause()) },
			back: func(t *testing.T, n *node) { require.NoError(t, n.Resume()) },
		},
		"planned": {
			lose:    func(t *testing.T, s *sentinels) { s.sentinels[1].do(t, "SENTINEL FAILOVER telemetry") },
			planned: true,
			back:    func(*testing.T, *node) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSentinels(t)
			r := newRigOn(t, s.url(), servertest.Migrated(t))
			setUser(t, s.servers, "processor", workerRights(t, r.config.Streams...)...)
			setUser(t, s.sentinels, "finder", "on >secret -@all +ping", moreRights(t, "Sentinel"))
			r.config.Redis.URL = withUser(s.url(), "processor:pw") + "&sentinel_username=finder&sentinel_password=secret"
			w := r.start()
			servertest.Until(t, "ready", w.ready)
			wait := r.replicating(3000, 1000, toPrimaryOf(r))
			awaitStored(t, w, 500)

			c.lose(t, s)
			began := time.Now()
			if !c.planned {
				servertest.Until(t, "not ready", func() bool { return !w.ready() })
			}
			took := awaitPrimary(t, s.servers[1])
			servertest.Until(t, "rows are stored again", func() bool {
				return r.redis.XLen(t.Context(), r.config.Streams[0]).Err() == nil && w.ready()
			})
			t.Logf("the replica took over after %v, the worker was ready again after %v", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			c.back(t, s.servers[0])
			servertest.Until(t, "the old primary is a replica", func() bool { return s.servers[0].info(t, "role") == "slave" })
			servertest.Until(t, "it is in sync", func() bool { return s.servers[0].info(t, "master_link_status") == "up" })
			wait()
			r.awaitDrained()
			require.True(t, w.alive())
			l := w.stop()
			t.Logf("%+v", l)
			require.Equal(t, 3000, l.Inserted)
			r.requireExact()
			requireNothingDenied(t, append(s.sentinels, s.servers...))
		})
	}
}
