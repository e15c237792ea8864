package doctor

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// clientInfo is a line of CLIENT LIST.
type clientInfo struct {
	user, host, command string
	worker              *stream.ClientName // nil for every other client
}

// clients lists the connections of a node; none where that may not be asked.
func (r *report) clients(ctx context.Context, n node) []clientInfo {
	text, err := n.client.ClientList(ctx).Result()
	if err != nil {
		r.unchecked("clients"+n.label, "+client|list", err)
		return nil
	}
	return parseClients(text)
}

func parseClients(text string) (all []clientInfo) {
	for line := range strings.Lines(text) {
		var c clientInfo
		for _, word := range strings.Fields(line) {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "user":
				c.user = value
			case "addr":
				c.host = value
				if host, _, err := net.SplitHostPort(value); err == nil {
					c.host = host
				}
			case "cmd":
				c.command = value
			case "name":
				if name, ok := stream.ParseClientName(value); ok {
					c.worker = &name
				}
			}
		}
		all = append(all, c)
	}
	return all
}

// twice warns of a consumer name that several workers of the group use: each takes the other's entries in flight for what it left
// behind.
func (r *report) twice(name, group string, clients []clientInfo) {
	hosts := map[string]map[string]string{} // of each instance, by consumer
	for _, c := range clients {
		if c.worker == nil || c.worker.Group != group || !slices.Contains(c.worker.Streams, name) {
			continue
		}
		if hosts[c.worker.Consumer] == nil {
			hosts[c.worker.Consumer] = map[string]string{}
		}
		hosts[c.worker.Consumer][c.worker.Instance] = c.host
	}
	for _, consumer := range slices.Sorted(maps.Keys(hosts)) {
		if instances := hosts[consumer]; len(instances) > 1 {
			r.warn("consumers of "+name, fmt.Sprintf("%d workers are named %s (on %s): each takes the other's entries in flight for its own, and writes them again",
				len(instances), consumer, strings.Join(slices.Sorted(maps.Values(instances)), ", ")), "give each worker another REDIS_CONSUMER")
		}
	}
}

// unattended is how long no consumer of a group may have asked before the group is abandoned.
const unattended = 10 * time.Minute

// groups warns of consumer groups that fall behind for ever, since nobody reads for them.
func (r *report) groups(ctx context.Context, client redis.UniversalClient, name, own string) {
	all, err := client.XInfoGroups(ctx, name).Result()
	if err != nil {
		r.unchecked("groups of "+name, "+xinfo|groups", err)
		return
	}
	for _, g := range all {
		consumers, err := client.XInfoConsumers(ctx, name, g.Name).Result()
		if err != nil {
			r.unchecked("groups of "+name, "+xinfo|consumers", err)
			return
		}
		if problem := groupProblem(g, consumers); problem != "" {
			fix := "XGROUP DESTROY " + name + " " + g.Name + " where nobody needs the group, else start what reads for it"
			if g.Name == own {
				fix = "start a worker: processor run"
			}
			r.warn("groups of "+name, "group "+g.Name+" "+problem, fix)
		}
	}
}

// groupProblem says that a group is behind and nobody reads for it; empty where it is not.
func groupProblem(g redis.XInfoGroup, consumers []redis.XInfoConsumer) string {
	if g.Lag == 0 && g.Pending == 0 {
		return ""
	}
	behind := fmt.Sprintf("is %d entries behind with %d pending", g.Lag, g.Pending)
	if g.Lag < 0 {
		behind = fmt.Sprintf("has %d pending entries and an unknown number unread", g.Pending)
	}
	if len(consumers) == 0 {
		return behind + ", and has no consumer"
	}
	idle := consumers[0].Idle
	for _, c := range consumers {
		idle = min(idle, c.Idle)
	}
	if idle < unattended {
		return ""
	}
	return behind + ", and no consumer has asked for " + rounded(idle)
}

// untrimmedSpan is the age of a stream's oldest entry from which on trimming would have been seen.
const untrimmedSpan = 24 * time.Hour

// span is the time between the oldest entry of a stream and the newest.
func span(info *stream.Info) time.Duration {
	if info.First == (stream.ID{}) {
		return 0
	}
	return max(info.LastGenerated.Time().Sub(info.First.Time()), 0)
}

// trimmer says at what a stream is trimmed, and by whom as far as Redis knows.
func (r *report) trimmer(ctx context.Context, client redis.UniversalClient, name string, info *stream.Info, clients []clientInfo) string {
	text := fmt.Sprintf("at about %d entries (the last %s)", info.Length, rounded(span(info)))
	node := client
	if cluster, is := client.(*redis.ClusterClient); is {
		primary, err := cluster.MasterForKey(ctx, name)
		if err != nil {
			return text
		}
		node = primary
	}
	stats, err := node.InfoMap(ctx, "commandstats").Result()
	if err != nil {
		return text // its right is checked above
	}
	switch {
	case calls(stats["Commandstats"]["cmdstat_xtrim"]) > 0:
		text += ", by XTRIM or XADD"
	case info.MaxDeleted != (stream.ID{}):
		text += ", by XADD with MAXLEN or MINID, or by XDEL"
	default:
		text += ", by XADD with MAXLEN or MINID"
	}
	return text + addedBy(clients)
}

// calls reads a line of INFO commandstats: calls=3,usec=….
func calls(line string) int64 {
	first, _, _ := strings.Cut(line, ",")
	n, _ := strconv.ParseInt(strings.TrimPrefix(first, "calls="), 10, 64)
	return n
}

// addedBy names the clients whose last command was XADD, three at most.
func addedBy(clients []clientInfo) string {
	producers := map[string]bool{}
	for _, c := range clients {
		if c.command == "xadd" || c.command == "xtrim" {
			producers["user "+c.user+" on "+c.host] = true
		}
	}
	if len(producers) == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(producers))
	more := ""
	if len(names) > 3 {
		more = fmt.Sprintf(" and %d more", len(names)-3)
		names = names[:3]
	}
	return " of " + strings.Join(names, ", ") + more
}

// memory compares what Redis holds with what it may.
func (r *report) memory(check string, info map[string]string) {
	if info == nil {
		return // what needs INFO is reported
	}
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(info[key], 10, 64)
		return n
	}
	state, detail, fix := memoryProblem(number("used_memory"), number("maxmemory"), number("total_system_memory"))
	r.findings = append(r.findings, Finding{r.server, check, state, detail, fix})
}

// Parts of its memory from which on Redis is nearly full.
const (
	nearMaxmemory = 0.8
	nearMachine   = 0.7 // a snapshot or a rewrite of the append-only file may need as much again
)

// memoryProblem judges memory in bytes; maximum and machine are 0 where there is no maximum, or the machine's is not known.
func memoryProblem(used, maximum, machine int64) (state State, detail, fix string) {
	const refuses = ": then it refuses XADD (OOM), and tcp-ingestion cannot publish"
	const trim = "raise maxmemory, trim at fewer entries, or add workers where the stream is a backlog"
	switch part := float64(used) / float64(max(maximum, 1)); {
	case maximum > 0 && part >= 1:
		return Failed, fmt.Sprintf("full: %s of maxmemory %s; Redis refuses XADD (OOM), and tcp-ingestion cannot publish", inBytes(used), inBytes(maximum)), trim
	case maximum > 0 && part >= nearMaxmemory:
		return Warning, fmt.Sprintf("%s of maxmemory %s are used%s", inBytes(used), inBytes(maximum), refuses), trim
	case maximum > 0:
		return OK, fmt.Sprintf("%s of maxmemory %s", inBytes(used), inBytes(maximum)), ""
	case machine > 0 && float64(used) >= nearMachine*float64(machine):
		return Warning, fmt.Sprintf("%s of the machine's %s are used, and there is no maxmemory: the kernel may kill Redis", inBytes(used), inBytes(machine)),
			"set maxmemory below the machine's memory, and trim at fewer entries"
	}
	return OK, fmt.Sprintf("%s of the machine's %s, no maxmemory", inBytes(used), inBytes(machine)), ""
}
