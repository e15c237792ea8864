package deploytest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
)

// unwatched are metrics that neither the dashboard nor a rule uses, each with the reason.
var unwatched = map[string]string{
	"processor_listener_dropped_total": "no worker has a listener yet",
	"processor_listener_panics_total":  "no worker has a listener yet",
}

// described is a prometheus.Registerer that records registered metrics. A registry only knows existing
// series, and a vector has none before its first label values are set.
type described struct {
	labels map[string][]string // by the metric's name
}

var descPattern = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

func (d *described) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() {
		c.Describe(descs)
		close(descs)
	}()
	for desc := range descs {
		if m := descPattern.FindStringSubmatch(desc.String()); m != nil {
			d.labels[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' })
		}
	}
	return nil
}

func (d *described) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = d.Register(c)
	}
}

func (d *described) Unregister(prometheus.Collector) bool { return false }

// metrics maps the names of all metrics of a worker to their labels.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	d := &described{labels: map[string][]string{}}
	m, err := observe.NewMetrics(d, observe.BuildInfo{}, observe.NewLedger())
	require.NoError(t, err)
	require.NoError(t, d.Register(observe.NewHealth(nil, observe.HealthOptions{})))
	require.NoError(t, m.ObserveDevices(func() int { return 0 }, func() uint64 { return 0 }))
	require.Equal(t, []string{"stream"}, d.labels["processor_entries_read_total"])
	require.Contains(t, d.labels, "go_gc_gomemlimit_bytes")
	// Constant labels are not among the variable labels of a Desc.
	d.labels["processor_build_info"] = []string{"version", "revision", "goversion"}
	return d.labels
}

var (
	tokenPattern    = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	quotedPattern   = regexp.MustCompile(`"[^"]*"`)
	selectorPattern = regexp.MustCompile(`\b(processor_\w+)\{([^}]*)\}`)
	matcherPattern  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	suffixPattern   = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// exposed returns the metric of a series in an expression: a histogram has three series.
func exposed(known map[string][]string, series string) string {
	if _, ok := known[series]; ok {
		return series
	}
	return suffixPattern.ReplaceAllString(series, "")
}

// uses lists the metrics and the recorded series in an expression.
func uses(known map[string][]string, expr string) (names, recorded []string) {
	for _, token := range tokenPattern.FindAllString(quotedPattern.ReplaceAllString(expr, `""`), -1) {
		switch {
		case strings.Contains(token, ":"):
			recorded = append(recorded, token)
		case strings.HasPrefix(token, "processor_"), strings.HasPrefix(token, "process_"), strings.HasPrefix(token, "go_"):
			names = append(names, exposed(known, token))
		}
	}
	return names, recorded
}

func TestMetrics_DashboardAndRulesNameWhatExists(t *testing.T) {
	known := metrics(t)
	recorded := map[string]bool{}
	for _, r := range rules(t) {
		if r.Record != "" {
			recorded[r.Record] = true
		}
	}
	shown := map[string]bool{}
	used := map[string]bool{}
	for where, expr := range expressions(t) {
		names, series := uses(known, expr)
		for _, name := range names {
			require.Contains(t, known, name, "%s: no such metric", where)
			shown[name] = true
		}
		for _, name := range series {
			require.True(t, recorded[name], "%s: recording.yml does not record %s", where, name)
			used[name] = true
		}
		for _, selector := range selectorPattern.FindAllStringSubmatch(expr, -1) {
			labels := append([]string{"job", "instance", "le"}, known[exposed(known, selector[1])]...)
			for _, matcher := range matcherPattern.FindAllStringSubmatch(selector[2], -1) {
				require.Contains(t, labels, matcher[1], "%s: %s has no such label", where, selector[1])
			}
		}
	}
	for name := range recorded {
		require.True(t, used[name], "%s is recorded but not used", name)
	}
	for name := range known {
		if !strings.HasPrefix(name, "processor_") {
			continue
		}
		_, allowed := unwatched[name]
		require.NotEqual(t, allowed, shown[name], "%s must be on the dashboard, in a rule, or in unwatched", name)
	}
}
