package doctor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

func connect(t *testing.T, url string) redis.UniversalClient {
	client, err := stream.Connect(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func send(t *testing.T, client redis.UniversalClient, commands ...string) {
	for _, command := range commands {
		if command == "a worker looks" {
			c := stream.NewConsumer(client, "s", "p", "c")
			stats, err := c.Stats(t.Context())
			require.NoError(t, err)
			_, err = c.Settle(t.Context(), stats)
			require.NoError(t, err)
			continue
		}
		var args []any
		for _, word := range strings.Fields(command) {
			args = append(args, word)
		}
		require.NoError(t, client.Do(t.Context(), args...).Err(), command)
	}
}

// consumed is a stream s with 10 entries, of which the group p was given 4 and has acknowledged 2.
var consumed = []string{
	"DEL s",
	"XADD s 1-0 a b", "XADD s 2-0 a b", "XADD s 3-0 a b", "XADD s 4-0 a b", "XADD s 5-0 a b",
	"XADD s 6-0 a b", "XADD s 7-0 a b", "XADD s 8-0 a b", "XADD s 9-0 a b", "XADD s 10-0 a b",
	"XGROUP CREATE s p 0", "a worker looks", "XREADGROUP GROUP p c COUNT 4 STREAMS s >", "XACK s p 1-0 2-0",
}

func TestRedis_FindsWhatIsWrong(t *testing.T) {
	client := connect(t, servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true}).URL())
	version, err := serverInfo(t.Context(), client)
	require.NoError(t, err)
	check := func() []string { return summary(Redis(t.Context(), client, []string{"s"}, "p", "")) }

	send(t, client, consumed...)
	healthy := check()
	require.Equal(t, []string{
		"ok connection: answers",
		"ok version: Redis " + version["redis_version"],
		"ok role: primary",
		"ok maxmemory-policy: noeviction",
		"ok memory: …",
		"ok persistence: append-only file, appendfsync everysec",
		"ok clock: …",
		"ok stream s: 10 entries, group p with 1 consumers",
		"ok trimming of s: nothing was trimmed yet",
		"ok pending of s: 2",
	}, healthy)

	cases := []struct {
		name        string
		break_, fix []string
		want        []string
	}{
		{"eviction", []string{"CONFIG SET maxmemory-policy allkeys-lru"}, []string{"CONFIG SET maxmemory-policy noeviction"}, []string{
			"failed maxmemory-policy: allkeys-lru: Redis may evict a stream, and with it positions that are not rows yet. Fix: CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
		}},
		{"persistence at will", []string{"CONFIG SET appendfsync no"}, []string{"CONFIG SET appendfsync everysec"}, []string{
			"warning persistence: append-only file is synced when the system likes (appendfsync no): a crash of the machine may lose half a minute. Fix: CONFIG SET appendfsync everysec, and the same in redis.conf",
		}},
		{"a replica", []string{"REPLICAOF 127.0.0.1 1"}, []string{"REPLICAOF NO ONE"}, []string{
			"failed role: is a replica, which takes no writes. Fix: name the primary in REDIS_URL, or let Sentinel find it: ?master_name=",
		}},
		{"no stream", []string{"DEL s"}, consumed, []string{
			"warning stream s: does not exist. Fix: none where nothing was published yet; else correct REDIS_STREAM",
		}},
		{"no stream, but text", []string{"SET s text"}, consumed, []string{
			"failed stream s: the key holds something else than a stream. Fix: name another with REDIS_STREAM, or delete the key",
		}},
		{"no group", []string{"XGROUP DESTROY s p"}, consumed, []string{
			"warning stream s: has no consumer group p. Fix: none: the worker makes it at the beginning of the stream; else correct REDIS_GROUP",
		}},
		{"trimmed behind the group", []string{"XACK s p 3-0 4-0", "XTRIM s MINID 3-0", "XREADGROUP GROUP p c COUNT 3 STREAMS s >", "XACK s p 5-0 6-0 7-0"}, consumed, []string{
			"ok stream s: 8 entries, group p with 1 consumers",
			"ok trimming of s: is trimmed at about 8 entries (the last 7ms), by XTRIM or XADD; 3 of its 8 entries are unread or pending",
			"ok pending of s: 0",
		}},
		{"trimmed close to the group", []string{"XTRIM s MINID 3-0"}, consumed, []string{
			"ok stream s: 8 entries, group p with 1 consumers",
			"warning trimming of s: is trimmed at about 8 entries (the last 7ms), by XTRIM or XADD, and 8 of its 8 entries are unread or pending: soon positions will be lost. Fix: " + hintTrimming,
		}},
		{"trimmed into pending entries", []string{"XTRIM s MINID 5-0"}, consumed, []string{
			"ok stream s: 6 entries, group p with 1 consumers",
			"warning trimming of s: is trimmed at about 6 entries (the last 5ms), by XTRIM or XADD, and 6 of its 6 entries are unread or pending: soon positions will be lost. Fix: " + hintTrimming,
			"failed pending of s: 2 pending entries were trimmed before they became rows: those positions are lost. Fix: " + hintTrimming,
		}},
		{"trimmed into unread entries", []string{"XTRIM s MINID 8-0"}, consumed, []string{
			"ok stream s: 3 entries, group p with 1 consumers",
			"failed trimming of s: 3 entries were trimmed before they were read: those positions are lost. Fix: " + hintTrimming,
			"failed pending of s: 2 pending entries were trimmed before they became rows: those positions are lost. Fix: " + hintTrimming,
		}},
		{"trimmed into unread entries, and no worker has looked", []string{"DEL {s}:counted", "XTRIM s MINID 8-0"}, consumed, []string{
			"ok stream s: 3 entries, group p with 1 consumers",
			"warning trimming of s: up to 3 entries may have been trimmed before they were read: Redis's count of reads is not known to be right. Fix: " + hintDoubt,
			"failed pending of s: 2 pending entries were trimmed before they became rows: those positions are lost. Fix: " + hintTrimming,
		}},
		{"everything trimmed", []string{"XTRIM s MAXLEN 0"}, consumed, []string{
			"ok stream s: 0 entries, group p with 1 consumers",
			"failed trimming of s: 6 entries were trimmed before they were read: those positions are lost. Fix: " + hintTrimming,
			"failed pending of s: 2 pending entries were trimmed before they became rows: those positions are lost. Fix: " + hintTrimming,
		}},
		{"an unread entry deleted", []string{"XDEL s 7-0"}, consumed, []string{
			"ok stream s: 9 entries, group p with 1 consumers",
			"warning trimming of s: is trimmed, and Redis cannot tell how much is unread, since entries were deleted (XDEL). Fix: none: Redis can tell again when the group has read on",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			send(t, client, c.break_...)
			require.Equal(t, c.want, changed(healthy, check()))
			send(t, client, c.fix...)
			require.Equal(t, healthy, check())
		})
	}
}

func TestRedis_WarnsWithoutPersistence(t *testing.T) {
	client := connect(t, servertest.NewRedis(t, sandbox.RedisOptions{}).URL())
	require.Contains(t, summary(Redis(t.Context(), client, []string{"s"}, "p", "")),
		"warning persistence: append-only file is off: a crash of Redis loses entries that are not rows yet. Fix: CONFIG SET appendonly yes, and the same in redis.conf")
}

func TestRedis_WarnsWhatAnACLForbids(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true})
	admin := connect(t, server.URL())
	send(t, admin, consumed...)
	limited := strings.Replace(server.URL(), "redis://", "redis://limited:topsecret@", 1)
	check := func() []string { return summary(Redis(t.Context(), connect(t, limited), []string{"s"}, "p", "")) }

	send(t, admin, "ACL SETUSER limited on >topsecret ~* +ping +info +config|get +time +client|list +xinfo +xpending +eval +evalsha +get")
	full := check()
	require.Empty(t, changed(summary(Redis(t.Context(), admin, []string{"s"}, "p", "")), full))

	send(t, admin, "ACL SETUSER limited -config|get")
	require.Equal(t, []string{
		"warning persistence: could not check: needs +config|get. Fix: ACL SETUSER limited +config|get",
	}, changed(full, check()))

	send(t, admin, "ACL SETUSER limited -info -time")
	require.Equal(t, []string{
		"warning version: could not check: needs +info. Fix: ACL SETUSER limited +info",
		"warning role: could not check: needs +info. Fix: ACL SETUSER limited +info",
		"warning maxmemory-policy: could not check: needs +config|get. Fix: ACL SETUSER limited +config|get",
		"warning persistence: could not check: needs +info. Fix: ACL SETUSER limited +info",
		"warning clock: could not check: needs +time. Fix: ACL SETUSER limited +time",
	}, changed(full, check()))

	send(t, admin, "ACL SETUSER limited resetkeys")
	found := changed(full, check())
	require.Contains(t, found[len(found)-1], "warning stream s: could not check: ")
	require.Contains(t, found[len(found)-1], "~s")

	send(t, admin, "ACL SETUSER limited -ping")
	found = check()
	require.Len(t, found, 1)
	require.Contains(t, found[0], "failed connection: ")
	require.Contains(t, found[0], "Fix: ACL SETUSER … +ping")

	send(t, admin, "ACL SETUSER limited >other <topsecret")
	found = check()
	require.Len(t, found, 1)
	require.Contains(t, found[0], "Fix: correct user and password in REDIS_URL")
	require.NotContains(t, found[0], "topsecret")
}

func TestRedis_WarnsWhatAHostedServerLacks(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true, ExtraArgs: []string{"--rename-command", "CONFIG", ""}})
	found := strings.Join(summary(Redis(t.Context(), connect(t, server.URL()), []string{"s"}, "p", "")), "\n")
	require.Contains(t, found, "warning persistence: could not check: ERR unknown command")
	require.Contains(t, found, "ok maxmemory-policy: noeviction")
}

func TestRedis_FailsWhereNothingAnswers(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	client := connect(t, server.URL())
	require.NoError(t, server.Kill())
	found := summary(Redis(t.Context(), client, []string{"s"}, "p", ""))
	require.Len(t, found, 1)
	require.Contains(t, found[0], "failed connection: ")
	require.Contains(t, found[0], "Fix: start Redis")
}

func TestRedis_ChecksTheNodesOfACluster(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{Cluster: true})
	node := connect(t, server.URL())
	send(t, node, "CLUSTER ADDSLOTSRANGE 0 16383")
	require.Eventually(t, func() bool {
		return strings.Contains(node.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	}, deadline, poll)
	address := strings.TrimPrefix(server.URL(), "redis://")
	cluster := connect(t, fmt.Sprintf("%s?addr=%s", server.URL(), address))
	send(t, cluster, consumed...)

	found := summary(Redis(t.Context(), cluster, []string{"s", "other"}, "p", ""))
	require.Contains(t, found, "ok role of "+address+": primary")
	require.Contains(t, found, "ok maxmemory-policy of "+address+": noeviction")
	require.Contains(t, found, "ok pending of s: 2")
	require.Contains(t, strings.Join(found, "\n"), "warning stream other: does not exist")
}
