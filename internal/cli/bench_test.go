package cli

import (
	"bytes"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"processor/internal/bench"
	"processor/internal/observe"
)

func TestBench_ChoosesScenarios(t *testing.T) {
	tests := map[string]struct {
		args []string
		want []string
	}{
		"default":             {nil, bench.Usual()},
		"all":                 {[]string{"--all"}, bench.Names()},
		"only":                {[]string{"--only=storm, drain"}, []string{"storm", "drain"}},
		"only, repeated":      {[]string{"--only=storm", "--only=drain"}, []string{"storm", "drain"}},
		"replay as well":      {[]string{"--replay"}, append(bench.Usual(), "replay")},
		"only and replay":     {[]string{"--only=drain", "--replay"}, []string{"drain", "replay"}},
		"throughput alone":    {[]string{"--skip-latency"}, []string{"raw", "drain"}},
		"all but the latency": {[]string{"--all", "--skip-latency"}, []string{"raw", "drain", "replay", "late", "storm", "dump", "readings"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseBench(t, test.args...).scenarios()
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func parseBench(t *testing.T, args ...string) *benchCmd {
	t.Helper()
	c := &commands{}
	parser, err := kong.New(c, mappers()...)
	require.NoError(t, err)
	_, err = parser.Parse(append([]string{"bench"}, args...))
	require.NoError(t, err)
	return &c.Bench
}

func TestBench_ReadsRates(t *testing.T) {
	require.Equal(t, rateList{5000}, parseBench(t).LatencyRate)
	require.Equal(t, rateList{200, 5000}, parseBench(t, "--latency-rate=200, 5000,200").LatencyRate, "each rate once")
	t.Setenv("BENCH_LATENCY_RATE", "1,20000")
	require.Equal(t, rateList{1, 20000}, parseBench(t).LatencyRate)
}

func TestBench_RefusesChoices(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"only and all":       {[]string{"--only=drain", "--all"}, "--only and --all can't be used together"},
		"nothing to measure": {[]string{"--only=trickle,single", "--skip-latency"}, "--skip-latency (BENCH_SKIP_LATENCY): no scenario is left"},
		"rate in a list":     {[]string{"--latency-rate=200,0"}, "numbers from 1 to 1000000, separated by commas"},
		"empty rate":         {[]string{"--latency-rate=200,"}, "numbers from 1 to 1000000, separated by commas"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			require.Equal(t, ExitUsage, Main(t.Context(), append([]string{"bench"}, test.args...), observe.BuildInfo{}, Streams{Out: &out, Err: &stderr}))
			require.Contains(t, stderr.String(), test.want)
			require.Empty(t, out.String())
		})
	}
}
