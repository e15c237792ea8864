package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// A node of a cluster says which slot a key has.
func TestKeys_AreInTheSlotOfTheStream(t *testing.T) {
	client, err := Connect(servertest.NewRedis(t, sandbox.RedisOptions{Cluster: true}).URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	slot := func(key string) int64 {
		n, err := client.ClusterKeySlot(t.Context(), key).Result()
		require.NoError(t, err)
		return n
	}
	for name, dead := range map[string]string{
		"telemetry:t":  "{telemetry:t}:dead",
		"{fleet}:t":    "{fleet}:t:dead",
		"a{fleet}b":    "a{fleet}b:dead",
		"telemetry:{t": "{telemetry:{t}:dead",
		"{{a}}":        "{{a}}:dead",
		"{a}{}":        "{a}{}:dead",
		"a}b{c}":       "a}b{c}:dead",
		"ü {é}":        "ü {é}:dead",
	} {
		require.NoError(t, CheckName(name), name)
		require.Equal(t, dead, DeadKey(name))
		for _, key := range []string{DeadKey(name), SourcesKey(name), CountedKey(name)} {
			require.Equal(t, slot(name), slot(key), "%s of %s", key, name)
		}
	}
	for _, name := range []string{"a{}b", "{}", "{}{a}", "a}b", "}", "}{", "telemetry:}{t", "a}{"} {
		require.ErrorContains(t, CheckName(name), "same slot of Redis Cluster", name)
	}
}
