package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// right is a command that a user needs on a key of a stream. Its arguments are right in number, and it is queued and
// never run.
type right struct {
	rule string // of an ACL
	args []any  // the key is K
}

const keyArgument = "K"

func rights(lines ...string) (all []right) {
	for _, line := range lines {
		rule, command, _ := strings.Cut(line, " ")
		r := right{rule: rule}
		for _, word := range strings.Fields(command) {
			r.args = append(r.args, word)
		}
		all = append(all, r)
	}
	return all
}

// inspecting are the rights to look at a stream.
func inspecting() []right {
	return rights("+xpending xpending K g", "+xinfo|stream xinfo stream K", "+xinfo|groups xinfo groups K", "+xinfo|consumers xinfo consumers K g",
		"+xlen xlen K", "+xrange xrange K - +", "+xrevrange xrevrange K + -", "+eval eval return 1 K", "+evalsha evalsha x 1 K")
}

// needed lists the rights of a user on each key of a stream.
func needed(as User, name string) map[string][]right {
	dead, sources, counted, poison := stream.DeadKey(name), stream.SourcesKey(name), stream.CountedKey(name), stream.PoisonKey(name)
	scripts := rights("+eval eval return 1 K", "+evalsha evalsha x 1 K")
	if as == Operator {
		changes := rights("+xadd xadd K * a b", "+xdel xdel K 0-1")
		return map[string][]right{
			name:    slices.Concat(inspecting(), changes, rights("+xgroup|setid xgroup setid K g 0")),
			dead:    slices.Concat(rights("+xlen xlen K", "+xrange xrange K - +", "+xrevrange xrevrange K + -"), scripts, changes),
			counted: slices.Concat(rights("+get get K"), scripts),
		}
	}
	return map[string][]right{
		name: slices.Concat(inspecting(), rights("+xgroup|create xgroup create K g 0 mkstream", "+xgroup|setid xgroup setid K g 0",
			"+xgroup|delconsumer xgroup delconsumer K g c", "+xreadgroup xreadgroup group g c streams K >", "+xautoclaim xautoclaim K g c 1 0",
			"+xclaim xclaim K g c 1 0-1", "+xack xack K g 0-1")),
		dead:    slices.Concat(rights("+xadd xadd K * a b", "+xlen xlen K", "+xrange xrange K - +", "+xrevrange xrevrange K + -"), scripts),
		sources: slices.Concat(rights("+hget hget K f", "+hset hset K f v", "+hlen hlen K", "+unlink unlink K"), scripts),
		counted: slices.Concat(rights("+get get K", "+set set K v"), scripts),
		poison:  rights("+hincrby hincrby K f 1", "+hdel hdel K f", "+expire expire K 1"),
	}
}

// workerHas reports whether the worker's user has a right that is not about one key.
func workerHas(rule string) bool {
	return !slices.Contains([]string{"+config|get", "+time", "+client|list"}, rule)
}

// userOf is the name of the connections' user.
func userOf(nodes []node) string {
	for _, n := range nodes {
		if client, is := n.client.(*redis.Client); is && client.Options().Username != "" {
			return client.Options().Username
		}
	}
	return "default"
}

// rights checks that the user may do all that the worker, or the operator, does with a stream.
func (r *report) rights(ctx context.Context, client redis.UniversalClient, name, group string) {
	if r.as == "" {
		return
	}
	check := "rights on " + name
	node, is := client.(*redis.Client)
	if cluster, clustered := client.(*redis.ClusterClient); clustered {
		primary, err := cluster.MasterForKey(ctx, name)
		if err != nil {
			r.unchecked(check, "", err)
			return
		}
		node, is = primary, true
	}
	if !is {
		return
	}
	missing, err := missingRights(ctx, node, needed(r.as, name))
	switch {
	case err != nil:
		r.unchecked(check, "+multi +exec", err)
	case len(missing) > 0:
		r.fail(check, fmt.Sprintf("user %s lacks rights of the %s: %s", r.user, r.as, strings.Join(missing, " ")),
			"ACL SETUSER "+r.user+" "+strings.Join(missing, " "))
	default:
		r.ok(check, "user %s has all that the %s needs", r.user, r.as)
	}
}

// missingRights returns the ACL selectors that a user lacks. Redis checks rights when a command is queued after MULTI; the
// connection is closed then, which discards what was queued.
func missingRights(ctx context.Context, node *redis.Client, wanted map[string][]right) (missing []string, err error) {
	options := *node.Options()
	options.PoolSize, options.MinIdleConns, options.MaxRetries = 1, 0, -1
	private := redis.NewClient(&options)
	defer func() { err = errors.Join(err, private.Close()) }()
	conn := private.Conn() // not to be closed: it would go back to the pool
	if err := conn.Do(ctx, "exec").Err(); redis.IsPermissionError(err) {
		return nil, err // any other answer is that there is nothing to execute
	}
	if err := conn.Do(ctx, "multi").Err(); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		var rules []string
		for _, want := range wanted[key] {
			refused, err := refuses(ctx, conn, want, key)
			if err != nil {
				return nil, err
			}
			if refused {
				rules = append(rules, want.rule)
			}
		}
		if len(rules) > 0 {
			missing = append(missing, fmt.Sprintf("(~%s %s)", key, strings.Join(rules, " ")))
		}
	}
	return missing, nil
}

// errRan: the server does not queue commands, so that nothing more must be sent.
var errRan = errors.New("the server does not keep commands back after MULTI")

// refuses queues a command, and reports whether the user lacks the right to it.
func refuses(ctx context.Context, conn *redis.Conn, want right, key string) (bool, error) {
	args := slices.Clone(want.args)
	for i := range args {
		if args[i] == keyArgument {
			args[i] = key
		}
	}
	cmd := redis.NewCmd(ctx, args...)
	if args[0] == "eval" {
		cmd = redis.NewCmd(ctx, "eval", "return 1", 1, key)
	}
	err := conn.Process(ctx, cmd)
	var answer redis.Error
	switch {
	case redis.IsPermissionError(err):
		return true, nil
	case errors.As(err, &answer):
		return false, nil // it has the right, and Redis is full or a replica
	case err != nil:
		return false, err
	case cmd.Val() != "QUEUED":
		return false, errRan
	}
	return false, nil
}
