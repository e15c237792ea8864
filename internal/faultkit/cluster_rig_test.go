package faultkit

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// nodeTimeout is how long a node of the test's clusters may be silent until the others take it for dead. Redis's default
// of 15 s is for networks.
const nodeTimeout = "1000"

// node is a server of a cluster, or a server that a Sentinel watches.
type node struct {
	*sandbox.Redis
	client *redis.Client
	id     string // in the cluster
}

func newNode(t testing.TB, options sandbox.RedisOptions) *node {
	t.Helper()
	server := servertest.NewRedis(t, options)
	client := redis.NewClient(&redis.Options{Addr: server.Address(), MaxRetries: -1, Protocol: 2, ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return &node{Redis: server, client: client}
}

// do sends a command, given as words, which must succeed.
func (n *node) do(t testing.TB, words ...any) any {
	t.Helper()
	var args []any
	for _, word := range words {
		if text, ok := word.(string); ok {
			for _, part := range strings.Fields(text) {
				args = append(args, part)
			}
			continue
		}
		args = append(args, word)
	}
	reply, err := n.client.Do(t.Context(), args...).Result()
	require.NoError(t, err, "%v", words)
	return reply
}

// info is a field of INFO; empty where the server does not answer.
func (n *node) info(t testing.TB, field string) string {
	for line := range strings.Lines(n.client.Info(t.Context(), "replication").Val()) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), field+":"); found {
			return value
		}
	}
	return ""
}

// cluster is a Redis Cluster of three primaries, each with a replica where it has any.
type cluster struct {
	t         testing.TB
	primaries []*node
	replicas  []*node
}

const slots = 16384

// newCluster starts one. Without replicas no node takes over from another.
func newCluster(t testing.TB, replicas bool) *cluster {
	t.Helper()
	c := &cluster{t: t}
	count := 3
	if replicas {
		count = 6
	}
	var all []*node
	for range count {
		n := newNode(t, sandbox.RedisOptions{Cluster: true, AppendOnly: true, ExtraArgs: []string{
			"--cluster-node-timeout", nodeTimeout, "--repl-ping-replica-period", "1", "--repl-diskless-sync-delay", "0",
			"--cluster-allow-replica-migration", "no",
		}})
		n.id = fmt.Sprint(n.do(t, "CLUSTER MYID"))
		all = append(all, n)
	}
	c.primaries, c.replicas = all[:3], all[3:]
	for i, n := range c.primaries {
		n.do(t, "CLUSTER ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
		n.do(t, "CLUSTER SET-CONFIG-EPOCH", i+1)
	}
	for _, n := range all[1:] {
		n.do(t, "CLUSTER MEET", meeting(t, all[0]))
	}
	servertest.Until(t, "the nodes know each other", func() bool {
		return !slices.ContainsFunc(all, func(n *node) bool {
			known := strings.Count(n.client.ClusterNodes(t.Context()).Val(), "connected")
			return known != count
		})
	})
	for i, n := range c.replicas {
		n.do(t, "CLUSTER REPLICATE", c.primaries[i].id)
	}
	c.awaitWhole(all...)
	for _, n := range c.replicas {
		servertest.Until(t, "the replica is in sync", func() bool { return n.info(t, "master_link_status") == "up" })
	}
	return c
}

// meeting is a node's address, port and bus port.
func meeting(t testing.TB, n *node) string {
	t.Helper()
	for line := range strings.Lines(n.client.ClusterNodes(t.Context()).Val()) {
		fields := strings.Fields(line)
		if !strings.Contains(fields[2], "myself") {
			continue
		}
		address, _, _ := strings.Cut(fields[1], ",")
		return strings.NewReplacer(":", " ", "@", " ").Replace(address)
	}
	require.FailNow(t, "the node does not know itself")
	return ""
}

// awaitWhole waits until these nodes see all slots served.
func (c *cluster) awaitWhole(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		servertest.Until(c.t, "the cluster serves all slots", func() bool {
			info := n.client.ClusterInfo(c.t.Context()).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384")
		})
	}
}

// url names two nodes of the cluster, that of a primary last.
func (c *cluster) url() string {
	return c.primaries[2].URL() + "?addr=" + c.primaries[1].Address()
}

// streams are the names of a stream for each primary.
func (c *cluster) streams() []string {
	c.t.Helper()
	base := servertest.StreamName(c.t)
	names := make([]string, len(c.primaries))
	for i, found := 0, 0; found < len(names); i++ {
		name := fmt.Sprint(base, ":", i)
		slot := int(c.primaries[0].client.ClusterKeySlot(c.t.Context(), name).Val())
		if home := slot * 3 / slots; names[home] == "" {
			names[home] = name
			found++
		}
	}
	return names
}

// newClusterRig is a rig on the cluster, with a stream for each primary.
func newClusterRig(t testing.TB, c *cluster) *rig {
	t.Helper()
	r := newRigOn(t, c.url(), servertest.Migrated(t))
	r.config.Streams = c.streams()
	return r
}

// replicating publishes n positions to each of the streams, so many a second, and returns a function that waits for the
// end. What it publishes is on a replica, so that no failover loses it: what is not is published again, and comes twice
// at most. connection is a connection to the primary that has a stream.
func (r *rig) replicating(n, perSecond int, connection func(stream string) (*redis.Conn, error)) (wait func()) {
	r.t.Helper()
	const part = 50
	var parts [][]fleet.Record
	for range n * len(r.config.Streams) / part {
		records := make([]fleet.Record, part)
		for i := range records {
			records[i] = r.record()
			r.published = append(r.published, records[i].Payload)
		}
		parts = append(parts, records)
	}
	done := make(chan error, 1)
	go func() {
		pause := time.NewTicker(time.Second * part / time.Duration(perSecond*len(r.config.Streams)))
		defer pause.Stop()
		for i, records := range parts {
			name := r.config.Streams[i%len(r.config.Streams)]
			for publishReplicated(r.t.Context(), name, records, connection) != nil {
				<-pause.C
				if err := r.t.Context().Err(); err != nil {
					done <- err
					return
				}
			}
			<-pause.C
		}
		done <- nil
	}()
	return func() { require.NoError(r.t, servertest.Within(r.t, done)) }
}

// publishReplicated adds records to a stream and returns nil when a replica has them.
func publishReplicated(ctx context.Context, stream string, records []fleet.Record, connection func(string) (*redis.Conn, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := connection(stream)
	if err != nil {
		return err
	}
	defer conn.Close()
	added, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, record := range records {
			p.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []any{"payload", record.Payload}})
		}
		p.Do(ctx, "WAIT", 1, 1000)
		return nil
	})
	if err != nil {
		return err
	}
	if replicas := fmt.Sprint(added[len(added)-1].(*redis.Cmd).Val()); replicas == "0" {
		return fmt.Errorf("no replica has the entries")
	}
	return nil
}

// toPrimary connects to the primary of the cluster that has a stream.
func (r *rig) toPrimary(stream string) (*redis.Conn, error) {
	client := r.redis.(*redis.ClusterClient)
	primary, err := client.MasterForKey(r.t.Context(), stream)
	client.ReloadState(r.t.Context()) // for the next time
	if err != nil {
		return nil, err
	}
	return primary.Conn(), nil
}

// awaitStored waits until the worker has stored n more rows than now.
func awaitStored(t testing.TB, w *worker, n int) {
	t.Helper()
	const inserted = `processor_positions_total{outcome="inserted"}`
	before := w.metric(inserted)
	servertest.Until(t, strconv.Itoa(n)+" more rows are stored", func() bool { return w.metric(inserted) >= before+float64(n) })
}

// workerRights are the words of ACL SETUSER that docs/redis-users.md has for the worker, for these streams.
func workerRights(t testing.TB, streams ...string) (words []any) {
	t.Helper()
	page, err := os.ReadFile("../../docs/redis-users.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(page)) {
		rights, found := strings.CutPrefix(line, "user processor ")
		if !found {
			continue
		}
		for i, name := range streams {
			text := strings.ReplaceAll(strings.ReplaceAll(rights, "WORKER_PASSWORD", "pw"), "telemetry:t", name)
			if i > 0 { // the further ones repeat ~name and the selectors
				text = "~" + name + text[strings.Index(text, " ("):]
			}
			for _, word := range strings.Fields(text) {
				words = append(words, word)
			}
		}
		return words
	}
	require.FailNow(t, "the page has no user for the worker")
	return nil
}

// moreRights are those that the page has for another installation, such as "Redis Cluster".
func moreRights(t testing.TB, installation string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/redis-users.md")
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| " + installation + " \\| .*?`([^`]+)`").FindSubmatch(page)
	require.NotNil(t, row, installation)
	return strings.ReplaceAll(string(row[1]), `\|`, "|")
}

// setUser makes a user of the servers. What is denied to somebody is from then on in ACL LOG.
func setUser(t testing.TB, nodes []*node, name string, words ...any) {
	t.Helper()
	for _, n := range nodes {
		n.do(t, append([]any{"ACL SETUSER", name}, words...)...)
		// From Redis 7.2 on; 7.0 does not know the command, and then nobody sends it in vain.
		_ = n.client.Do(t.Context(), "ACL", "SETUSER", name, "+client|setinfo").Err()
		n.do(t, "ACL LOG RESET")
	}
}

// requireNothingDenied requires that no server has denied the user anything, but for CLIENT SETINFO, which is unknown to
// Redis 7.0.
func requireNothingDenied(t testing.TB, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		denied, err := n.client.ACLLog(t.Context(), 20).Result()
		require.NoError(t, err)
		for _, entry := range denied {
			if entry.Object != "client|setinfo" && entry.Object != "client" {
				require.Fail(t, "denied", "%+v", *entry)
			}
		}
	}
}
