package stream

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ClientName is the name of a worker's connections, which CLIENT LIST shows: processor/GROUP/CONSUMER/STREAMS/INSTANCE.
type ClientName struct {
	Group, Consumer string
	Streams         []string
	Instance        string // another one for each process
}

const clientPrefix = "processor"

// String returns the name, in the characters that Redis takes for one.
func (n ClientName) String() string {
	streams := make([]string, len(n.Streams))
	for i, name := range n.Streams {
		streams[i] = url.PathEscape(name)
	}
	return strings.Join([]string{
		clientPrefix, url.PathEscape(n.Group), url.PathEscape(n.Consumer), strings.Join(streams, ","), n.Instance,
	}, "/")
}

// ParseClientName reads what String returns, and reports whether it is such a name.
func ParseClientName(text string) (n ClientName, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 5 || parts[0] != clientPrefix {
		return n, false
	}
	unescape := func(s string) string {
		plain, err := url.PathUnescape(s)
		if err != nil {
			ok = false
		}
		return plain
	}
	ok = true
	n.Group, n.Consumer, n.Instance = unescape(parts[1]), unescape(parts[2]), parts[4]
	for name := range strings.SplitSeq(parts[3], ",") {
		n.Streams = append(n.Streams, unescape(name))
	}
	return n, ok
}

// Name gives the client's connections a name, unless its URL has one. Before the first command, which opens the first connection.
// HELLO needs no right, as CLIENT SETNAME does, which go-redis sends for a name of its options. A server that refuses is used
// without a name.
func Name(client redis.UniversalClient, name ClientName) {
	onConnect := func(ctx context.Context, conn *redis.Conn) error {
		err := conn.Process(ctx, redis.NewCmd(ctx, "hello", 2, "setname", name.String()))
		var answer redis.Error
		if errors.As(err, &answer) {
			return nil
		}
		return err
	}
	switch client := client.(type) {
	case *redis.Client:
		if o := client.Options(); o.ClientName == "" {
			o.OnConnect = onConnect
		}
	case *redis.ClusterClient:
		if o := client.Options(); o.ClientName == "" {
			o.OnConnect = onConnect
		}
	}
}
