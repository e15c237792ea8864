package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"

	"processor/internal/stream"
)

// granted adds to an error of a missing right the ACL rule that grants all of rights. Any other error is returned as it is.
func granted(err error, redisURL, rights string) error {
	if !redis.IsPermissionError(err) && !redis.HasErrorPrefix(err, "NOPERM") { // package stream has an error type for replies
		return err
	}
	user := "default"
	if u, parseErr := url.Parse(redisURL); parseErr == nil && u.User.Username() != "" {
		user = u.User.Username()
	}
	return fmt.Errorf("%w. Fix: ACL SETUSER %s %s", err, user, rights)
}

// selector is an ACL selector: commands on keys of each stream. ~*-patterns in names are escaped as Redis's globs.
func selector(streams []string, keys func(name string) []string, commands string) string {
	var words []string
	for _, name := range streams {
		for _, key := range keys(name) {
			words = append(words, "~"+strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(key))
		}
	}
	return "(" + strings.Join(words, " ") + " " + commands + ")"
}

func itself(name string) []string { return []string{name} }
func dead(name string) []string   { return []string{stream.DeadKey(name)} }
func both(name string) []string   { return []string{name, stream.DeadKey(name)} }

// The rights of each command, beyond connecting.
const (
	inspectCommands = "+xinfo|stream +xinfo|groups +xinfo|consumers +xpending +xrange +xrevrange +eval +evalsha"
	listCommands    = "+xlen +xrange +xrevrange +eval +evalsha"
)

func statusRights(streams []string) string {
	return selector(streams, itself, inspectCommands) + " " + selector(streams, dead, listCommands)
}

func traceRights(streams []string) string { return statusRights(streams) }

func listRights(streams []string) string { return "+time " + selector(streams, dead, listCommands) }

func replayRights(streams []string) string {
	return statusRights(streams) + " +time " + selector(streams, both, "+xadd +xdel +xrange +eval +evalsha")
}

func dropRights(streams []string) string {
	return "+time " + selector(streams, dead, listCommands+" +xdel")
}
