package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// oldestRedis has what the worker uses: lag and entries-read of groups, deleted ids of XAUTOCLAIM.
var oldestRedis = version{7, 0, 0}

// Redis checks the server, or the cluster's nodes, that hold the streams, and each stream with
// its group. As Worker or Operator it also checks that the user has that user's rights, and does not ask what the user
// may not.
func Redis(ctx context.Context, client redis.UniversalClient, streams []string, group string, as User) []Finding {
	r := &report{server: "redis", as: as, user: "…"}
	// Redis answers PING with MISCONF after a failed snapshot, which is found below.
	if err := client.Ping(ctx).Err(); err != nil && !redis.HasErrorPrefix(err, "MISCONF") {
		r.fail("connection", err.Error(), hintConnection(err))
		return r.findings
	}
	r.ok("connection", "answers")
	nodes, err := nodesOf(ctx, client, streams)
	if err != nil {
		r.fail("connection", err.Error(), "check the cluster: CLUSTER INFO, CLUSTER NODES")
		return r.findings
	}
	r.user = userOf(nodes)
	var clients []clientInfo
	for _, n := range nodes {
		r.redisServer(ctx, n)
		clients = append(clients, r.clients(ctx, n)...)
	}
	for _, name := range streams {
		r.rights(ctx, client, name, group)
		r.stream(ctx, client, name, group, clients)
	}
	return r.findings
}

func hintConnection(err error) string {
	if redis.IsPermissionError(err) {
		return "ACL SETUSER … +ping"
	}
	return cmp.Or(stream.Hint(err), "start Redis, or correct host, port and scheme (rediss:// with TLS) in REDIS_URL")
}

// node is one server. Its label tells it from others and is empty where there are none.
type node struct {
	client redis.UniversalClient
	label  string
}

// nodesOf lists the servers that hold the streams: of a cluster the primaries for their keys.
func nodesOf(ctx context.Context, client redis.UniversalClient, streams []string) ([]node, error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return []node{{client: client}}, nil
	}
	var nodes []node
	seen := map[string]bool{}
	for _, name := range streams {
		primary, err := cluster.MasterForKey(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("find the node of stream %s: %w", name, err)
		}
		addr := primary.Options().Addr
		if !seen[addr] {
			seen[addr] = true
			nodes = append(nodes, node{primary, " of " + addr})
		}
	}
	return nodes, nil
}

func (r *report) redisServer(ctx context.Context, n node) {
	info, err := serverInfo(ctx, n.client)
	if err != nil {
		for _, check := range []string{"version", "role"} {
			r.unchecked(check+n.label, "+info", err)
		}
	} else {
		r.redisVersion("version"+n.label, info["redis_version"])
		r.role("role"+n.label, info["role"])
	}
	r.eviction(ctx, n, info)
	r.memory("memory"+n.label, info)
	r.persistence(ctx, n, info)
	err = r.clock(ctx, func(ctx context.Context) (time.Time, error) { return n.client.Time(ctx).Result() })
	if err != nil {
		r.unchecked("clock"+n.label, "+time", err)
	}
}

// unchecked is for commands that the worker does without: an ACL may forbid them, and hosted
// Redis may not have them.
func (r *report) unchecked(check, needs string, err error) {
	var refused redis.Error
	switch {
	case redis.IsPermissionError(err) && r.as == Worker && !workerHas(needs):
		r.skip(check, "not checked: the worker's user has no "+needs+" and needs none", "processor doctor --as operator, with the operator's user, checks it")
	case redis.IsPermissionError(err):
		r.warn(check, "could not check: needs "+needs, "ACL SETUSER "+r.user+" "+needs)
	case errors.As(err, &refused), errors.Is(err, errNoSetting):
		r.warn(check, "could not check: "+err.Error(), "look it up where Redis is set up")
	default:
		r.fail(check, err.Error(), hintConnection(err))
	}
}

// serverInfo is INFO as one map: its sections share no key.
func serverInfo(ctx context.Context, client redis.UniversalClient) (map[string]string, error) {
	sections, err := client.InfoMap(ctx).Result()
	if err != nil {
		return nil, err
	}
	info := map[string]string{}
	for _, section := range sections {
		maps.Copy(info, section)
	}
	return info, nil
}

func (r *report) redisVersion(check, text string) {
	if parseVersion(text).before(oldestRedis) {
		r.fail(check, fmt.Sprintf("Redis %s is older than %s", text, oldestRedis), "upgrade Redis")
		return
	}
	r.ok(check, "Redis %s", text)
}

func (r *report) role(check, role string) {
	if role == "slave" {
		r.fail(check, "is a replica, which takes no writes", "name the primary in REDIS_URL, or let Sentinel find it: ?master_name=")
		return
	}
	r.ok(check, "primary")
}

// eviction looks in INFO first, which more accounts may use than CONFIG GET.
func (r *report) eviction(ctx context.Context, n node, info map[string]string) {
	check := "maxmemory-policy" + n.label
	policy, ok := info["maxmemory_policy"]
	if !ok {
		var err error
		if policy, err = configGet(ctx, n.client, "maxmemory-policy"); err != nil {
			r.unchecked(check, "+config|get", err)
			return
		}
	}
	if strings.HasPrefix(policy, "volatile-") {
		r.warn(check, policy+": Redis evicts keys with a time to live; a stream has none unless somebody set one",
			"CONFIG SET maxmemory-policy noeviction, and the same in redis.conf")
		return
	}
	if policy != "noeviction" {
		r.fail(check, policy+": Redis may evict a stream, and with it positions that are not rows yet",
			"CONFIG SET maxmemory-policy noeviction, and the same in redis.conf")
		return
	}
	r.ok(check, "noeviction")
}

func (r *report) persistence(ctx context.Context, n node, info map[string]string) {
	check := "persistence" + n.label
	const on = "CONFIG SET appendonly yes, and the same in redis.conf"
	switch {
	case info == nil:
		r.warn(check, "could not check: needs +info", "ACL SETUSER "+r.user+" +info")
		return
	case info["rdb_last_bgsave_status"] == "err":
		r.fail(check, "the last snapshot failed: Redis refuses writes (MISCONF) while stop-writes-on-bgsave-error is on", "look in Redis's log; most often the disk is full")
		return
	case info["aof_enabled"] != "1":
		r.warn(check, "append-only file is off: a crash of Redis loses entries that are not rows yet", on)
		return
	case info["aof_last_write_status"] == "err":
		r.fail(check, "the last write to the append-only file failed", "look in Redis's log; most often the disk is full")
		return
	case info["aof_last_bgrewrite_status"] == "err":
		r.warn(check, "the last rewrite of the append-only file failed: it grows until the disk is full", "look in Redis's log; most often the disk or the memory for the fork is full")
		return
	}
	fsync, err := configGet(ctx, n.client, "appendfsync")
	switch {
	case err != nil:
		r.unchecked(check, "+config|get", err)
	case fsync == "no":
		r.warn(check, "append-only file is synced when the system likes (appendfsync no): a crash of the machine may lose half a minute",
			"CONFIG SET appendfsync everysec, and the same in redis.conf")
	default:
		r.ok(check, "append-only file, appendfsync %s", fsync)
	}
}

var errNoSetting = errors.New("Redis has no such setting")

func configGet(ctx context.Context, client redis.UniversalClient, name string) (string, error) {
	settings, err := client.ConfigGet(ctx, name).Result()
	if err != nil {
		return "", err
	}
	value, ok := settings[name]
	if !ok {
		return "", fmt.Errorf("CONFIG GET %s: %w", name, errNoSetting)
	}
	return value, nil
}

// maxTrimmedPending bounds the count of pending entries whose payload is gone.
const maxTrimmedPending = 1000

func (r *report) stream(ctx context.Context, client redis.UniversalClient, name, group string, clients []clientInfo) {
	info, err := stream.Inspect(ctx, client, name, group)
	check := "stream " + name
	switch {
	case redis.IsPermissionError(err):
		r.warn(check, "could not check: "+err.Error(), "ACL SETUSER "+r.user+" (+eval +evalsha +xinfo|stream +xinfo|groups +xinfo|consumers +xpending +xrange ~"+name+")")
		return
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		r.fail(check, "the key holds something else than a stream", "name another with REDIS_STREAM, or delete the key")
		return
	case err != nil:
		r.fail(check, err.Error(), hintConnection(err))
		return
	case !info.Exists:
		r.warn(check, "does not exist"+namesLike(ctx, client, name), "none where nothing was published yet; else correct REDIS_STREAM")
		return
	case info.Added != nil && *info.Added == 0:
		r.warn(check, "nothing was ever added to it"+namesLike(ctx, client, name), "none where nothing was published yet; else correct REDIS_STREAM")
		return
	case info.Group == nil:
		r.warn(check, fmt.Sprintf("has no consumer group %s", group), "none: the worker makes it at the beginning of the stream; else correct REDIS_GROUP")
		return
	}
	r.ok(check, "%d entries, group %s with %d consumers", info.Length, group, len(info.Group.Consumers))
	r.unread(ctx, client, name, group, &info, clients)
	r.pending(ctx, client, name, group, info)
	r.groups(ctx, client, name, group)
	r.twice(name, group, clients)
}

// pending looks for pending entries that are no longer on the stream.
func (r *report) pending(ctx context.Context, client redis.UniversalClient, name, group string, info stream.Info) {
	check := "pending of " + name
	trimmed, atLeast := int(info.Group.Pending), ""
	if info.Length > 0 {
		var err error
		if trimmed, err = stream.CountTrimmedPending(ctx, client, name, group, info.First, maxTrimmedPending); err != nil {
			r.unchecked(check, "+xpending", err)
			return
		}
		if trimmed == maxTrimmedPending {
			atLeast = "at least "
		}
	}
	if trimmed > 0 {
		r.fail(check, fmt.Sprintf("%s%d pending entries were trimmed before they became rows: those positions are lost", atLeast, trimmed), hintTrimming)
		return
	}
	r.ok(check, "%d", info.Group.Pending)
}

const hintTrimming = "raise MAXLEN where tcp-ingestion adds entries; add workers, or WRITERS, so that the group keeps up"

const hintDoubt = "none after a restart or failover of Redis, or XGROUP SETID: a worker corrects the count when it has read everything"

// nearTrimming is the part of a trimmed stream that unread and pending entries may take.
const nearTrimming = 0.8

// unread compares what was trimmed with what was read.
func (r *report) unread(ctx context.Context, client redis.UniversalClient, name, group string, info *stream.Info, clients []clientInfo) {
	check := "trimming of " + name
	// A name only: it does nothing in the group.
	s, err := stream.NewConsumer(client, name, group, "doctor").Stats(ctx)
	if err != nil {
		r.unchecked(check, "+eval +evalsha +xinfo|stream +xinfo|groups +xpending", err)
		return
	}
	switch {
	case s.TrimmedUnread > 0:
		r.fail(check, fmt.Sprintf("%d entries were trimmed before they were read: those positions are lost", s.TrimmedUnread), hintTrimming)
		return
	case s.Doubtful > 0:
		r.warn(check, fmt.Sprintf("up to %d entries may have been trimmed before they were read: Redis's count of reads is not known to be right", s.Doubtful),
			hintDoubt)
		return
	case s.Added == nil:
		r.warn(check, "could not check: the server does not count what was added", "none: no loss by trimming will be noticed")
		return
	case *s.Added == s.Length && span(info) > untrimmedSpan:
		r.warn(check, fmt.Sprintf("nothing trims it: it holds %d entries of the last %s, and grows until Redis is full%s", s.Length, rounded(span(info)), addedBy(clients)),
			"XADD with MAXLEN ~ N in tcp-ingestion: N as many entries as come in the longest outage that shall lose nothing")
		return
	case *s.Added == s.Length:
		r.ok(check, "nothing was trimmed yet")
		return
	case s.Lag == nil:
		r.warn(check, "is trimmed, and Redis cannot tell how much is unread, since entries were deleted (XDEL)", "none: Redis can tell again when the group has read on")
		return
	}
	// Pending entries may have been trimmed as well.
	backlog := min(*s.Lag+s.Pending, s.Length)
	if float64(backlog) > nearTrimming*float64(s.Length) {
		r.warn(check, fmt.Sprintf("is trimmed %s, and %d of its %d entries are unread or pending: soon positions will be lost", r.trimmer(ctx, client, name, info, clients), backlog, s.Length), hintTrimming)
		return
	}
	r.ok(check, "is trimmed %s; %d of its %d entries are unread or pending", r.trimmer(ctx, client, name, info, clients), backlog, s.Length)
}
