package alike

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNames_FindsSlips(t *testing.T) {
	for _, name := range []string{"Telemetry:t", " telemetry:t", "telemetry:t ", "telemetry_t", "telemetry", "telemetry:teltonika", "telemerty:t", "telemetry:u", "prod:telemetry:t", "{telemetry}:t"} {
		require.True(t, Names(name, "telemetry:t"), name)
	}
	for _, name := range []string{"orders", "t", "", "events:t"} {
		require.False(t, Names(name, "telemetry:t"), name)
	}
}

func TestDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"a", ""}: 1, {"", "abc"}: 3, {"status", "status"}: 0, {"stauts", "status"}: 1, {"lst", "list"}: 1,
		{"kitten", "sitting"}: 3, {"doktor", "doctor"}: 1,
	} {
		require.Equal(t, want, Distance(pair[0], pair[1]), pair)
		require.Equal(t, want, Distance(pair[1], pair[0]), pair)
	}
}

func TestClosest(t *testing.T) {
	commands := []string{"run", "migrate", "publish", "status", "trace", "dlq", "doctor", "list"}
	for name, want := range map[string][]string{
		"stauts": {"status"}, "stat": {"status"}, "Status": {"status"}, "docter": {"doctor"}, "dql": {"dlq"}, "lst": {"list"},
		"xyzzy": nil, "": nil, "-": nil, "redis://u:p@h": nil,
	} {
		require.Equal(t, want, Closest(name, commands), name)
	}
	flags := []string{"redis-url", "redis-url-file", "redis-stream", "database-url", "json"}
	require.Equal(t, []string{"redis-url", "redis-url-file"}, Closest("redis_url", flags))
	require.Equal(t, []string{"redis-stream"}, Closest("stream", flags))
	require.Equal(t, []string{"redis-stream"}, Closest("redis-streams", flags))
}
