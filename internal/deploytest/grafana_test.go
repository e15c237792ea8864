package deploytest

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

type grafanaDashboard struct {
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name, Type string
			Definition string `json:"definition"`
			Query      any
		} `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Name            string `json:"name"`
			Expr            string `json:"expr"`
			UseValueForTime bool   `json:"useValueForTime"`
		} `json:"list"`
	} `json:"annotations"`
	Panels []struct {
		ID          int    `json:"id"`
		Type        string `json:"type"`
		Title       string `json:"title"`
		Description string `json:"description"`
		GridPos     struct{ H, W, X, Y int }
		Datasource  struct{ Type, UID string }
		Targets     []struct {
			RefID string `json:"refId"`
			Expr  string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
}

// labelValues matches Grafana's function label_values: a series and one of its labels.
var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

const dashboardFile = "deploy/grafana/dashboards/processor.json"

func dashboard(t *testing.T) grafanaDashboard {
	t.Helper()
	var d grafanaDashboard
	require.NoError(t, json.Unmarshal([]byte(read(t, dashboardFile)), &d))
	require.NotEmpty(t, d.Panels)
	return d
}

func TestDashboard_PanelsAreWhole(t *testing.T) {
	d := dashboard(t)
	require.GreaterOrEqual(t, d.SchemaVersion, 41)
	require.Equal(t, "datasource", d.Templating.List[0].Type)
	require.Equal(t, "datasource", d.Templating.List[0].Name)

	type cell struct{ x, y int }
	ids, cells := map[int]bool{}, map[cell]string{}
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Title)
		require.False(t, ids[p.ID], "%s: id %d is there twice", p.Title, p.ID)
		ids[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := cell{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, cells[at], "%s lies on it", p.Title)
				cells[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.Regexp(t, `^\S.*\.$`, p.Description, p.Title)
		require.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
	}
}

// A worker starts between two scrapes, often as a new instance: the metric holds the start time in seconds,
// and Grafana expects milliseconds.
func TestDashboard_AnnotatesStarts(t *testing.T) {
	for _, a := range dashboard(t).Annotations.List {
		if a.Name == "Worker starts" {
			require.True(t, a.UseValueForTime)
			require.Regexp(t, `^process_start_time_seconds\{[^}]*\} \* 1000\b`, a.Expr)
			return
		}
	}
	require.Fail(t, "no such annotation")
}

func TestDashboard_VariablesAskForWhatExists(t *testing.T) {
	known := metrics(t)
	for _, v := range dashboard(t).Templating.List {
		if v.Type != "query" {
			continue
		}
		query, is := v.Query.(map[string]any)
		require.True(t, is, v.Name)
		require.Equal(t, v.Definition, query["query"], v.Name)
		m := labelValues.FindStringSubmatch(v.Definition)
		require.NotNil(t, m, v.Definition)
		names, _ := uses(known, m[1])
		require.Len(t, names, 1)
		require.Contains(t, append([]string{"job", "instance"}, known[names[0]]...), m[2], v.Name)
	}
}

func TestGrafana_ProvisionsWhatComposeMounts(t *testing.T) {
	type provider struct {
		Providers []struct {
			Options struct{ Path string }
		}
	}
	type source struct {
		Datasources []struct{ UID, URL string }
	}
	path := documents[provider](t, "deploy/grafana/provisioning/dashboards/processor.yml")[0].Providers[0].Options.Path
	grafana := composeFile(t).Services["grafana"]
	require.Contains(t, grafana.Volumes, "./"+filepath.Dir(dashboardFile)+":"+path+":ro")
	require.Equal(t, path+"/processor.json", grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
	url := documents[source](t, "deploy/grafana/provisioning/datasources/prometheus.yml")[0].Datasources[0].URL
	require.Equal(t, "http://prometheus:9090", url)
	require.Contains(t, composeFile(t).Services, "prometheus")
}
