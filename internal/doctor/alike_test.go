package doctor

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func TestSimilar_KnowsDeadLetterStreams(t *testing.T) {
	require.True(t, similar("telemetry", "telemetry:t"))
	require.False(t, similar("{telemetry:t}:dead", "telemetry:t"))
}

func TestRedis_ListsStreamsOfSimilarNames(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true})
	client := connect(t, server.URL())
	send(t, client, "XADD telemetry:T * a b", "XADD telemetrie:t * a b", "XADD orders * a b", "SET telemetry:tt text",
		"XADD {telemetry:t}:dead * a b", "XADD telemetry * a b", "XTRIM telemetry MAXLEN 0")
	const hint = ". Fix: none where nothing was published yet; else correct REDIS_STREAM"
	const others = `; streams with entries and a similar name: "telemetrie:t", "telemetry:T"`
	check := func(url string) string {
		return strings.Join(summary(Redis(t.Context(), connect(t, url), []string{"telemetry:t"}, "p", "")), "\n")
	}
	require.Contains(t, check(server.URL()), "warning stream telemetry:t: does not exist"+others+hint)
	send(t, client, "XGROUP CREATE telemetry:t p 0 MKSTREAM")
	require.Contains(t, check(server.URL()), "warning stream telemetry:t: nothing was ever added to it"+others+hint)

	send(t, client, "ACL SETUSER limited on >pw ~* +@all -scan")
	require.Contains(t, check(strings.Replace(server.URL(), "redis://", "redis://limited:pw@", 1)),
		"warning stream telemetry:t: nothing was ever added to it"+hint)
}
