package deploytest

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/servertest"
	"processor/internal/store"
)

// metric is what a metric's description and collector tell of it.
type metric struct {
	kind, help string
	labels     []string
}

// catalogue is a prometheus.Registerer that records the processor's own metrics by name.
type catalogue map[string]metric

var helpPattern = regexp.MustCompile(`fqName: "(processor_[^"]+)", help: ("(?:[^"\\]|\\.)*"),(?: unit: "[^"]*",)? constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

func (c catalogue) Register(collector prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() {
		collector.Describe(descs)
		close(descs)
	}()
	for desc := range descs {
		m := helpPattern.FindStringSubmatch(desc.String())
		if m == nil {
			continue
		}
		help, err := strconv.Unquote(m[2])
		if err != nil {
			return err
		}
		labels := regexp.MustCompile(`\w+="[^"]*"|\w+`).FindAllString(strings.ReplaceAll(m[3], `""`, `"x"`)+","+m[4], -1)
		for i := range labels {
			labels[i], _, _ = strings.Cut(labels[i], "=")
		}
		c[m[1]] = metric{kind(collector, desc), help, labels}
	}
	return nil
}

func (c catalogue) MustRegister(all ...prometheus.Collector) {
	for _, one := range all {
		_ = c.Register(one)
	}
}

func (c catalogue) Unregister(prometheus.Collector) bool { return false }

// kind is the type of a metric. A vector has no series yet, but a Go type for each.
func kind(collector prometheus.Collector, desc *prometheus.Desc) string {
	switch collector.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec:
		return "gauge"
	case *prometheus.HistogramVec:
		return "histogram"
	}
	found := ""
	series := make(chan prometheus.Metric)
	go func() {
		collector.Collect(series)
		close(series)
	}()
	for one := range series {
		var written dto.Metric
		if one.Desc().String() != desc.String() || one.Write(&written) != nil {
			continue
		}
		switch {
		case written.Counter != nil:
			found = "counter"
		case written.Gauge != nil:
			found = "gauge"
		case written.Histogram != nil:
			found = "histogram"
		}
	}
	return found
}

// The reference of the metrics is made of the registry.
func TestMetrics_AreAllDocumented(t *testing.T) {
	all := catalogue{}
	ledger := observe.NewLedger()
	ledger.Read("telemetry:t", 1)
	m, err := observe.NewMetrics(all, observe.BuildInfo{}, ledger)
	require.NoError(t, err)
	health := observe.NewHealth(nil, observe.HealthOptions{})
	health.Recover(observe.Progress)
	require.NoError(t, all.Register(health))
	require.NoError(t, m.ObserveDevices(func() int { return 0 }, func() uint64 { return 0 }))
	for name := range metrics(t) {
		if strings.HasPrefix(name, "processor_") {
			require.Contains(t, all, name)
		}
	}
	page := "| Metric | Type | Labels | Meaning | Problem |\n|---|---|---|---|---|\n"
	for _, name := range slices.Sorted(maps.Keys(all)) {
		one := all[name]
		require.NotEmpty(t, one.kind, name)
		parts := regexp.MustCompile(`^(.*)[.;] [Ww]orry (.*)$`).FindStringSubmatch(one.help)
		require.NotNil(t, parts, name)
		labels := ""
		for _, label := range one.labels {
			labels += ", `" + label + "`"
		}
		page += fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, one.kind, strings.TrimPrefix(labels, ", "), parts[1], parts[2])
	}
	servertest.Generated(t, "metrics.md", "metrics", page)
}

// firstCells lists what is in back quotes in the first cell of the rows below a heading.
func firstCells(t *testing.T, page, heading string) (names []string) {
	t.Helper()
	_, part, found := strings.Cut(read(t, page), "\n## "+heading+"\n")
	require.True(t, found, heading)
	part, _, _ = strings.Cut(part, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|").FindAllStringSubmatch(part, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[1], -1) {
			names = append(names, name[1])
		}
	}
	return names
}

func TestReference_ListsLabelsClassesReasonsAndChecks(t *testing.T) {
	var labels []string
	for name, of := range metrics(t) {
		if strings.HasPrefix(name, "processor_") {
			labels = append(labels, of...)
		}
	}
	slices.Sort(labels)
	require.ElementsMatch(t, slices.Compact(labels), firstCells(t, "docs/metrics.md", "Labels"))

	row := regexp.MustCompile("(?m)^\\| `class` \\|.*$").FindString(read(t, "docs/metrics.md"))
	for _, class := range store.Classes() {
		require.Contains(t, row, "`"+string(class)+"`")
	}
	for _, path := range []string{store.PathCopy, store.PathInsert, store.PathUpsert} {
		require.Regexp(t, "(?m)^\\| `path` \\|.*`"+path+"`", read(t, "docs/metrics.md"))
	}

	var reasons []string
	for _, reason := range position.Reasons() {
		reasons = append(reasons, string(reason))
	}
	require.Equal(t, reasons, firstCells(t, "docs/entry-format.md", "What becomes a dead letter"))

	checks := []string{"redis", "postgres", "schema"}
	for _, name := range []observe.ConditionName{observe.Writes, observe.Progress, observe.Listening} {
		checks = append(checks, string(name))
	}
	for _, name := range []observe.ConditionName{
		observe.Reading, observe.Claims, observe.Replies, observe.Monitor, observe.Acknowledge, observe.DeadLetter, observe.Parked, observe.Poison,
	} {
		checks = append(checks, string(name.OfStream("NAME")))
	}
	require.Subset(t, firstCells(t, "docs/http.md", "GET /readyz"), checks)
}

func TestCatalogue_ReadsDescriptions(t *testing.T) {
	all := catalogue{}
	const help = `Help "quoted" {a}. Worry.`
	all.MustRegister(
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "processor_a_total", Help: help}, []string{"x", "y"}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "processor_b", Help: help, ConstLabels: prometheus.Labels{"v": ""}}),
		prometheus.NewHistogram(prometheus.HistogramOpts{Name: "processor_c", Help: help}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "other", Help: help}),
	)
	require.True(t, reflect.DeepEqual(catalogue{
		"processor_a_total": {"counter", help, []string{"x", "y"}},
		"processor_b":       {"gauge", help, []string{"v"}},
		"processor_c":       {"histogram", help, nil},
	}, all), "%v", all)
}
