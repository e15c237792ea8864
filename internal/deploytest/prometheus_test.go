package deploytest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/store"
)

type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

var ruleFiles = []string{"deploy/prometheus/recording.yml", "deploy/prometheus/alerts.yml"}

func rules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, path := range ruleFiles {
		type file struct {
			Groups []struct{ Rules []rule }
		}
		for _, group := range documents[file](t, path)[0].Groups {
			all = append(all, group.Rules...)
		}
	}
	return all
}

// expressions returns the expressions of the rules and the dashboard, by their location.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, r := range rules(t) {
		all["rule "+r.Record+r.Alert] = r.Expr
	}
	d := dashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all["panel "+p.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" { // Grafana's built-in annotation has none
			all["annotation "+a.Name] = a.Expr
		}
	}
	for _, v := range d.Templating.List {
		if m := labelValues.FindStringSubmatch(v.Definition); m != nil {
			all["variable "+v.Name] = m[1]
		}
	}
	return all
}

func TestPrometheus_PromtoolAcceptsConfigAndRules(t *testing.T) {
	t.Parallel()
	promtool(t, "", append([]string{"check", "rules"}, ruleFiles...)...)
	promtool(t, "", "check", "config", "deploy/prometheus/prometheus.yml")
	promtool(t, "", "test", "rules", "deploy/prometheus/alerts_test.yml")
}

// grafanaVariables substitutes Grafana's variables.
var grafanaVariables = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$__interval", "1m", "$job", ".*", "$stream", ".*")

// Every expression of the dashboard is valid PromQL after substitution of Grafana's variables.
func TestDashboard_ExpressionsParse(t *testing.T) {
	var file strings.Builder
	file.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for where, expr := range expressions(t) {
		if strings.HasPrefix(where, "rule ") {
			continue
		}
		n++
		require.NotContains(t, expr, "'", where)
		file.WriteString("  - record: panel:expr:" + strings.Repeat("x", n) + "\n    expr: '" + grafanaVariables.Replace(expr) + "'\n")
	}
	path := filepath.Join(t.TempDir(), "dashboard.yml")
	require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o600))
	promtool(t, "", "check", "rules", path)
}

func TestAlerts_EachSaysWhatAPersonNeeds(t *testing.T) {
	anchors := anchorsOf(t, "docs/runbook.md")
	tests := read(t, "deploy/prometheus/alerts_test.yml")
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		require.False(t, seen[r.Alert], "%s is there twice", r.Alert)
		seen[r.Alert] = true
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
		file, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		require.Equal(t, "{{ or $externalLabels.runbook_page `docs/runbook.md` }}", file, r.Alert)
		require.Contains(t, anchors, anchor, r.Alert)
		require.Regexp(t, `eval_time: \w+\n\s+alertname: `+r.Alert+`\n\s+exp_alerts:`, tests, "alerts_test.yml never raises %s", r.Alert)
	}
	for _, heading := range regexp.MustCompile(`(?m)^## (Processor\w+)$`).FindAllStringSubmatch(read(t, "docs/runbook.md"), -1) {
		require.True(t, seen[heading[1]], "the runbook has %s, alerts.yml has not", heading[1])
	}
}

// The closed sets of label values, as defined in the code.
func TestRulesAndDashboard_LabelValuesExist(t *testing.T) {
	var classes []string
	for _, class := range store.Classes() {
		classes = append(classes, string(class))
	}
	var outcomes []string
	for _, o := range []observe.Outcome{observe.Inserted, observe.Merged, observe.Unchanged, observe.DeadLettered} {
		outcomes = append(outcomes, o.String())
	}
	allowed := map[string][]string{
		"class":   classes,
		"outcome": outcomes,
		"path":    store.Paths(),
	}
	found := map[string]bool{}
	for where, expr := range expressions(t) {
		for _, matcher := range matcherPattern.FindAllStringSubmatch(expr, -1) {
			values, closed := allowed[matcher[1]]
			if !closed {
				continue
			}
			found[matcher[1]] = true
			for value := range strings.SplitSeq(matcher[2], "|") {
				require.Contains(t, values, value, "%s: label %s", where, matcher[1])
			}
		}
	}
	require.Len(t, found, len(allowed), "each of them is used somewhere")
}

// The scrape job's name is chosen at deployment: in Kubernetes it is often one job for all pods.
func TestRules_HoldWhateverTheScrapeJobIsCalled(t *testing.T) {
	for where, expr := range expressions(t) {
		if regexp.MustCompile(`(^|[^:\w])(process|go)_`).MatchString(expr) {
			require.Contains(t, expr, "processor_build_info", "%s: other programs have these metrics too", where)
		}
	}
	for _, r := range rules(t) {
		expr := r.Expr
		if r.Alert == "ProcessorReplicaDown" {
			require.Contains(t, expr, "\n  or up == 0 and on (job, instance)")
			expr = strings.Replace(expr, `up{job="processor"} == 0`, "", 1)
		}
		require.NotRegexp(t, `\bjob\s*[=!]`, expr, r.Record+r.Alert)
	}
}

func TestPrometheus_ScrapesTheWorkersOfCompose(t *testing.T) {
	type discovery struct {
		Names []string
		Port  int
	}
	type config struct {
		RuleFiles     []string `json:"rule_files"`
		ScrapeConfigs []struct {
			JobName string      `json:"job_name"`
			DNS     []discovery `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	c := documents[config](t, "deploy/prometheus/prometheus.yml")[0]
	require.Equal(t, []string{"recording.yml", "alerts.yml"}, c.RuleFiles)
	require.Equal(t, "processor", c.ScrapeConfigs[0].JobName, "ProcessorReplicaDown then sees a worker that never answered")
	require.Equal(t, []discovery{{Names: []string{"worker"}, Port: httpPort(t)}}, c.ScrapeConfigs[0].DNS)
	require.Contains(t, composeFile(t).Services, "worker")
}
