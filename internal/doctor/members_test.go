package doctor

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

func TestRedis_FindsTwoWorkersOfOneName(t *testing.T) {
	url := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true}).URL()
	client := connect(t, url)
	send(t, client, consumed...)
	check := func() []string { return summary(Redis(t.Context(), client, []string{"s"}, "p", "")) }
	before := check()
	as := func(group, consumer, instance string) {
		c := connect(t, url)
		stream.Name(c, stream.ClientName{Group: group, Consumer: consumer, Streams: []string{"other", "s"}, Instance: instance})
		require.NoError(t, c.Ping(t.Context()).Err())
	}
	as("p", "pod-1", "A")
	as("p", "pod-1", "A") // another connection
	as("p", "pod-2", "B")
	as("q", "pod-1", "C") // another group
	require.Empty(t, changed(before, check()))
	as("p", "pod-1", "D")
	require.Equal(t, []string{"warning consumers of s: 2 workers are named pod-1 (on 127.0.0.1, 127.0.0.1): each takes the other's entries in flight for its own, " +
		"and writes them again. Fix: give each worker another REDIS_CONSUMER"}, changed(before, check()))
}

func TestRedis_FindsAbandonedGroups(t *testing.T) {
	client := connect(t, servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true}).URL())
	send(t, client, consumed...)
	check := func() []string { return summary(Redis(t.Context(), client, []string{"s"}, "p", "")) }
	before := check()
	send(t, client, "XGROUP CREATE s old 0")
	require.Equal(t, []string{"warning groups of s: group old is 10 entries behind with 0 pending, and has no consumer. " +
		"Fix: XGROUP DESTROY s old where nobody needs the group, else start what reads for it"}, changed(before, check()))
}

func TestGroupProblem(t *testing.T) {
	idle := func(d ...time.Duration) (all []redis.XInfoConsumer) {
		for _, d := range d {
			all = append(all, redis.XInfoConsumer{Idle: d})
		}
		return all
	}
	require.Empty(t, groupProblem(redis.XInfoGroup{}, nil))
	require.Empty(t, groupProblem(redis.XInfoGroup{Lag: 5}, idle(time.Hour, time.Second)))
	require.Equal(t, "is 5 entries behind with 2 pending, and no consumer has asked for 1h0m0s", groupProblem(redis.XInfoGroup{Lag: 5, Pending: 2}, idle(time.Hour, 2*time.Hour)))
	require.Equal(t, "has 2 pending entries and an unknown number unread, and has no consumer", groupProblem(redis.XInfoGroup{Lag: -1, Pending: 2}, nil))
}

func TestRedis_SaysThatItIsFull(t *testing.T) {
	client := connect(t, servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true}).URL())
	send(t, client, consumed...)
	send(t, client, "CONFIG SET maxmemory 1000000")
	found := strings.Join(summary(Redis(t.Context(), client, []string{"s"}, "p", "")), "\n")
	require.Regexp(t, `(failed memory: full|warning memory: ).* of maxmemory 976.6 KiB.*XADD \(OOM\)`, found)
}

// A directory that is gone is what a full disk is to a snapshot.
func TestRedis_SaysThatASnapshotFailed(t *testing.T) {
	directory := t.TempDir() + "/data"
	require.NoError(t, os.Mkdir(directory, 0o755))
	client := connect(t, servertest.NewRedis(t, sandbox.RedisOptions{ExtraArgs: []string{"--dir", directory, "--save", "3600 1"}}).URL())
	require.NoError(t, os.RemoveAll(directory))
	t.Cleanup(func() { // it would not stop without having saved
		require.NoError(t, client.ConfigSet(context.WithoutCancel(t.Context()), "save", "").Err())
	})
	require.NoError(t, client.BgSave(t.Context()).Err())
	servertest.Until(t, "the snapshot failed", func() bool {
		return strings.Contains(strings.Join(summary(Redis(t.Context(), client, []string{"s"}, "p", "")), "\n"), "failed persistence: the last snapshot failed")
	})
}

// Each right that a user lacks is named, with the rule that grants it, and nothing is changed by asking.
func TestRights_AreNamed(t *testing.T) {
	url := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true}).URL()
	admin := connect(t, url)
	send(t, admin, consumed...)
	send(t, admin, "HSET {s}:dead:sources a b", "SET {s}:counted kept")
	client := connect(t, strings.Replace(url, "redis://", "redis://limited:pw@", 1))
	const shared = "ACL SETUSER limited reset on >pw +ping +info +multi +exec "
	for as, keys := range map[User][]string{Worker: {"s", "{s}:dead", "{s}:dead:sources", "{s}:counted", "{s}:poison"}, Operator: {"s", "{s}:dead", "{s}:counted"}} {
		wanted := needed(as, "s")
		require.Len(t, wanted, len(keys))
		grant := func(key string, rules []right, without string) any {
			words := []string{"(~" + key}
			for _, r := range rules {
				if r.rule != without {
					words = append(words, r.rule)
				}
			}
			return strings.Join(words, " ") + ")"
		}
		for _, lacking := range keys {
			for _, r := range wanted[lacking] {
				var args []any
				for _, word := range strings.Fields(shared) {
					args = append(args, word)
				}
				for _, key := range keys {
					without := ""
					if key == lacking {
						without = r.rule
					}
					args = append(args, grant(key, wanted[key], without))
				}
				require.NoError(t, admin.Do(t.Context(), args...).Err())
				node := client.(*redis.Client)
				missing, err := missingRights(t.Context(), node, wanted)
				require.NoError(t, err)
				require.Equal(t, []string{fmt.Sprintf("(~%s %s)", lacking, r.rule)}, missing, "%s %s", as, lacking)
			}
		}
	}
	require.Equal(t, int64(10), admin.XLen(t.Context(), "s").Val())
	require.Equal(t, int64(1), admin.HLen(t.Context(), "{s}:dead:sources").Val())
	require.Equal(t, "kept", admin.Get(t.Context(), "{s}:counted").Val())
	require.Zero(t, admin.Exists(t.Context(), "{s}:dead", "{s}:poison").Val())
}

func TestRedis_AsWorkerSkipsWhatTheWorkerMayNot(t *testing.T) {
	url := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true}).URL()
	admin := connect(t, url)
	send(t, admin, consumed...)
	send(t, admin, "ACL SETUSER limited on >pw ~* +@all -config -time -client|list")
	limited := connect(t, strings.Replace(url, "redis://", "redis://limited:pw@", 1))
	found := summary(Redis(t.Context(), limited, []string{"s"}, "p", Worker))
	require.Contains(t, found, "ok rights on s: user limited has all that the worker needs")
	require.NotContains(t, strings.Join(found, "\n"), "could not check")
	for _, right := range []string{"+config|get", "+time", "+client|list"} {
		require.Contains(t, strings.Join(found, "\n"), "the worker's user has no "+right+" and needs none. Fix: processor doctor --as operator")
	}
	require.Contains(t, strings.Join(summary(Redis(t.Context(), limited, []string{"s"}, "p", Operator)), "\n"), "warning clock: could not check: needs +time. Fix: ACL SETUSER limited +time")

	send(t, admin, "ACL SETUSER limited -xack")
	require.Contains(t, summary(Redis(t.Context(), limited, []string{"s"}, "p", Worker)),
		"failed rights on s: user limited lacks rights of the worker: (~s +xack). Fix: ACL SETUSER limited (~s +xack)")
}
