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
		Name, If, Uses, Run string
		With                map[string]any
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
	steps := map[string]step{}
	for _, job := range w.Jobs {
		require.Nil(t, job.Services)
		for _, s := range job.Steps {
			runs = append(runs, s.Run)
			steps[s.Name] = s
			if strings.Contains(s.Run, ":main") {
				require.Equal(t, "gitea.event_name == 'push' && gitea.ref == 'refs/heads/main'", s.If, "%s: :main is what is on main", s.Name)
			}
			if strings.HasPrefix(s.Uses, "actions/setup-go") {
				require.Equal(t, "go.mod", s.With["go-version-file"])
			}
		}
	}
	all := strings.Join(runs, "\n")
	require.Equal(t, ".ci/run setup justfile lint verify manifests test", steps["Test"].Run, "all but containers and machine, which a job container may not run")
	info, err := os.Stat(filepath.Join(root, ".ci/run"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o100, ".ci/run is executable")
	require.Regexp(t, `(?m)^\[ .* set -- .*\blint verify manifests containers machine test$`, read(t, ".ci/run"), "all of it, unless it is told otherwise")
	require.Regexp(t, `docker push "\$IMAGE:\$REVISION"[^}]*docker tag "\$IMAGE:\$REVISION" "\$IMAGE:main"\s+docker push "\$IMAGE:main"`, steps["Publish"].Run)
	for _, arg := range regexp.MustCompile(`--build-arg (\w+)=`).FindAllStringSubmatch(all, -1) {
		require.Regexp(t, `(?m)^ARG `+arg[1]+`$|^ARG `+arg[1]+`=`, read(t, "Dockerfile"))
	}
}

// The registry is the server that runs the workflow: no host name is in the repository.
func TestDeploy_NamesNoHostOfAnybody(t *testing.T) {
	host := regexp.MustCompile(`\b[\w-]+\.(?:io|com|org|net|dev|sh|cloud)\b(?:/|:)`)
	for _, path := range append(files(t, "deploy", ""), workflowFile, "compose.yaml", "Dockerfile") {
		for line := range strings.Lines(read(t, path)) {
			for _, api := range []string{"networking.k8s.io/", "kustomize.config.k8s.io/", "app.kubernetes.io/", "topology.kubernetes.io/", "kubernetes.io/hostname", "prometheus.io/", "keda.sh/", "monitoring.coreos.com/"} {
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
