package stream

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func TestClientName_IsReadBack(t *testing.T) {
	for _, name := range []ClientName{
		{"processor", "worker-1", []string{"telemetry:t"}, "A"},
		{"a/b c", "ü,%", []string{"{x}:t", "y,z"}, "B"},
	} {
		require.NotRegexp(t, `[^!-~]`, name.String(), "Redis refuses it")
		got, ok := ParseClientName(name.String())
		require.True(t, ok)
		require.Equal(t, name, got)
	}
	for _, text := range []string{"", "processor", "other/a/b/c/d", "processor/a/b/c", "processor/%zz/b/c/d"} {
		_, ok := ParseClientName(text)
		require.False(t, ok, text)
	}
}

// A user that may do nothing but PING gets its connections named, the reader's too, and Redis denies nothing.
func TestName_NeedsNoRight(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	admin, err := Connect(server.URL())
	require.NoError(t, err)
	defer admin.Close()
	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "limited", "on", ">pw", "+ping").Err())
	url := strings.Replace(server.URL(), "redis://", "redis://limited:pw@", 1)
	client, err := Connect(url)
	require.NoError(t, err)
	defer client.Close()
	name := ClientName{"g", "c", []string{"s"}, "I"}
	Name(client, name)
	require.NoError(t, client.Ping(t.Context()).Err())
	w, err := dial(t.Context(), client, "s", redirect{})
	require.NoError(t, err)
	defer w.close()
	list, err := admin.ClientList(t.Context()).Result()
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(list, " name="+name.String()+" "), list)
	for _, line := range denied(t, admin) {
		require.Contains(t, line, "client|setinfo") // which go-redis sends unasked
	}

	mine, err := Connect(server.URL() + "?client_name=mine")
	require.NoError(t, err)
	defer mine.Close()
	Name(mine, name)
	require.Equal(t, "mine", mine.ClientGetName(t.Context()).Val())
}

// denied lists the objects of ACL LOG.
func denied(t *testing.T, client redis.UniversalClient) (objects []string) {
	log, err := client.ACLLog(t.Context(), 100).Result()
	require.NoError(t, err)
	for _, entry := range log {
		objects = append(objects, entry.Object)
	}
	return objects
}
