package deploytest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const workflowFile = ".gitea/workflows/build.yml"

func TestWorkflow_OneJobWithoutServices(t *testing.T) {
	type step struct {
		Uses, Run string
		With      map[string]any
	}
	type workflow struct {
		On struct {
			Push struct{ Branches []string }
		}
		Jobs map[string]struct {
			Services any
			Steps    []step
		}
	}
	w := documents[workflow](t, workflowFile)[0]
	require.Equal(t, []string{"main"}, w.On.Push.Branches)
	require.Len(t, w.Jobs, 1)
	var runs []string
	for _, job := range w.Jobs {
		require.Nil(t, job.Services)
		for _, s := range job.Steps {
			runs = append(runs, s.Run)
			if strings.HasPrefix(s.Uses, "actions/setup-go") {
				require.Equal(t, "go.mod", s.With["go-version-file"])
			}
		}
	}
	all := strings.Join(runs, "\n")
	for _, script := range regexp.MustCompile(`\bscripts/\w+`).FindAllString(all, -1) {
		info, err := os.Stat(filepath.Join(root, script))
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&0o100, "%s is executable", script)
	}
	require.Contains(t, all, "scripts/test")
	for _, arg := range regexp.MustCompile(`--build-arg (\w+)=`).FindAllStringSubmatch(all, -1) {
		require.Regexp(t, `(?m)^ARG `+arg[1]+`$|^ARG `+arg[1]+`=`, read(t, "Dockerfile"))
	}
}

// The registry is the server that runs the workflow: no host is written down anywhere here.
func TestDeploy_NamesNoHostOfAnybody(t *testing.T) {
	host := regexp.MustCompile(`\b[\w-]+\.(?:io|com|org|net|dev|sh|cloud)\b(?:/|:)`)
	for _, path := range append(files(t, "deploy", ""), workflowFile, "compose.yaml", "Dockerfile") {
		for line := range strings.Lines(read(t, path)) {
			for _, api := range []string{"networking.k8s.io/", "kustomize.config.k8s.io/", "app.kubernetes.io/", "topology.kubernetes.io/", "kubernetes.io/hostname", "prometheus.io/", "keda.sh/"} {
				line = strings.ReplaceAll(line, api, "")
			}
			require.NotRegexp(t, host, line, path)
		}
	}
}

func TestDeploy_EveryFileParses(t *testing.T) {
	for _, path := range append(files(t, "deploy", ".yml", ".yaml", ".json"), workflowFile, "compose.yaml") {
		require.NotEmpty(t, documents[any](t, path), path) // JSON is YAML
	}
}
