package deploytest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const inhibitFile = "deploy/alertmanager/inhibit_rules.yml"

type inhibition struct {
	Source []string `json:"source_matchers"`
	Target []string `json:"target_matchers"`
	Equal  []string
}

// alert holds the labels of one, alertname included.
type alert map[string]string

var alertMatcher = regexp.MustCompile(`^(\w+)(=~|!~|!=|=)"(.*)"$`)

// matches applies Alertmanager's matchers: a label that is missing is empty.
func matches(t *testing.T, matchers []string, a alert) bool {
	t.Helper()
	for _, text := range matchers {
		m := alertMatcher.FindStringSubmatch(text)
		require.NotNil(t, m, text)
		same := a[m[1]] == m[3]
		if strings.Contains(m[2], "~") {
			same = regexp.MustCompile("^(?:" + m[3] + ")$").MatchString(a[m[1]])
		}
		if same == strings.Contains(m[2], "!") {
			return false
		}
	}
	return true
}

func inhibitions(t *testing.T) []inhibition {
	t.Helper()
	return documents[struct {
		Rules []inhibition `json:"inhibit_rules"`
	}](t, inhibitFile)[0].Rules
}

// notified returns the names of the alerts that no other one inhibits.
func notified(t *testing.T, alerts ...alert) []string {
	t.Helper()
	names := []string{}
	for _, target := range alerts {
		inhibited := false
		for _, rule := range inhibitions(t) {
			for _, source := range alerts {
				equal := matches(t, rule.Target, target) && matches(t, rule.Source, source) && !matches(t, rule.Source, target)
				for _, label := range rule.Equal {
					equal = equal && source[label] == target[label]
				}
				inhibited = inhibited || equal
			}
		}
		if !inhibited {
			names = append(names, target["alertname"]+target["kind"])
		}
	}
	return names
}

func firing(name string, labels ...string) alert {
	a := alert{"alertname": "Processor" + name, "job": "processor"}
	for i := 0; i+1 < len(labels); i += 2 {
		a[labels[i]] = labels[i+1]
	}
	return a
}

// One alert is sent for one cause. The lists are what fires without the rules.
func TestInhibition_LeavesOneAlertForOneCause(t *testing.T) {
	stream := []string{"stream", "telemetry:t"}
	behind := []alert{
		firing("Stalled"), firing("NotConsuming", stream...), firing("TrimForecast", stream...), firing("LagGrowing", stream...),
		firing("PendingStuck", stream...), firing("FreshnessBad"),
	}
	with := func(more ...alert) []alert { return append(more, behind...) }
	for name, c := range map[string]struct {
		fires []alert
		sent  []string
	}{
		"PostgreSQL is away":         {with(firing("WritesUnavailable"), firing("RowsParked"), firing("CommitUnknown")), []string{"ProcessorWritesUnavailable"}},
		"PostgreSQL refuses batches": {with(firing("WritesRefused"), firing("WritesLimited")), []string{"ProcessorWritesRefused"}},
		"a privilege is missing":     {with(firing("WritesRefused"), firing("SchemaWrong")), []string{"ProcessorSchemaWrong"}},
		"Redis is away": {with(firing("RedisUnavailable"), firing("NoInput", stream...), firing("AckErrors"),
			firing("CheckFailing", "kind", "stream"), firing("CheckFailing", "kind", "acknowledge")), []string{"ProcessorRedisUnavailable"}},
		"Redis is read-only": {with(firing("AckErrors"), firing("CheckFailing", "kind", "stream"), firing("CheckFailing", "kind", "acknowledge"),
			firing("CheckFailing", "kind", "claims"), firing("CheckFailing", "kind", "dead letters")), []string{"ProcessorCheckFailingstream"}},
		"both servers are away":    {with(firing("RedisUnavailable"), firing("WritesUnavailable")), []string{"ProcessorRedisUnavailable", "ProcessorWritesUnavailable"}},
		"no worker runs":           {[]alert{{"alertname": "ProcessorAbsent"}, firing("ReplicaDown", "instance", "w1"), firing("Restarting", "instance", "w1")}, []string{"ProcessorAbsent"}},
		"one worker restarts":      {[]alert{firing("ReplicaDown", "instance", "w1"), firing("Restarting", "instance", "w1"), firing("ReplicaDown", "instance", "w2")}, []string{"ProcessorRestarting", "ProcessorReplicaDown"}},
		"no cause is known":        {behind, []string{"ProcessorStalled"}},
		"workers are too slow":     {behind[2:4], []string{"ProcessorTrimForecast"}},
		"many dead letters":        {[]alert{firing("DeadLettersMany"), firing("DeadLetters")}, []string{"ProcessorDeadLettersMany"}},
		"entries are lost as well": {with(firing("WritesUnavailable"), firing("EntriesLost", stream...)), []string{"ProcessorWritesUnavailable", "ProcessorEntriesLost"}},
		"another installation": {[]alert{firing("WritesUnavailable"), firing("NotConsuming", "job", "other"), firing("NotConsuming", "cluster", "b")},
			[]string{"ProcessorWritesUnavailable", "ProcessorNotConsuming", "ProcessorNotConsuming"}},
		"dead letters cannot be written, and reading is too slow": {[]alert{firing("CheckFailing", "kind", "dead letters"), firing("TrimForecast", stream...)},
			[]string{"ProcessorCheckFailingdead letters", "ProcessorTrimForecast"}},
		"a rejected row, nothing to read": {[]alert{firing("RowsParked"), firing("NoInput", stream...)}, []string{"ProcessorRowsParked", "ProcessorNoInput"}},
	} {
		require.Equal(t, c.sent, notified(t, c.fires...), name)
	}
}

// A rule that names an alert that is not there inhibits nothing.
func TestInhibition_NamesAlertsThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, r := range rules(t) {
		known[r.Alert] = true
	}
	for _, rule := range inhibitions(t) {
		require.NotContains(t, rule.Equal, "kind")
		for _, m := range append(rule.Source, rule.Target...) {
			for _, name := range regexp.MustCompile(`Processor\w+`).FindAllString(m, -1) {
				require.True(t, known[name], "%s: no alert %s", inhibitFile, name)
			}
		}
	}
}
