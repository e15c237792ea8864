package deploytest

import (
	"os"
	"os/exec"
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
			if strings.Contains(s.Run, "publish push") {
				require.Equal(t, "gitea.event_name == 'push' && gitea.ref == 'refs/heads/main'", s.If, "%s: :main is what is on main", s.Name)
			}
			if strings.HasPrefix(s.Uses, "actions/setup-go") {
				require.Equal(t, "go.mod", s.With["go-version-file"])
			}
		}
	}
	all := strings.Join(runs, "\n")
	require.Equal(t, ".ci/run setup justfile lint verify manifests redis test", steps["Test"].Run, "all but containers and machine, which a job container may not run")
	info, err := os.Stat(filepath.Join(root, ".ci/run"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o100, ".ci/run is executable")
	require.Regexp(t, `(?m)^\[ .* set -- .*\blint verify manifests containers machine redis test$`, read(t, ".ci/run"), "all of it, unless it is told otherwise")
	require.Contains(t, steps["Publish"].Run, `scripts/publish push "$IMAGE" main`)
	require.Contains(t, all, ".ci/run vulncheck")
	for _, arg := range regexp.MustCompile(`--build-arg "(\w+)=`).FindAllStringSubmatch(read(t, "scripts/publish"), -1) {
		require.Regexp(t, `(?m)^ARG `+arg[1]+`$|^ARG `+arg[1]+`=`, read(t, "Dockerfile"))
	}
}

// The registry is the server that runs the workflow: no host name is in the repository.
func TestDeploy_NamesNoHostOfAnybody(t *testing.T) {
	host := regexp.MustCompile(`\b[\w-]+\.(?:io|com|org|net|dev|sh|cloud)\b(?:/|:)`)
	for _, path := range append(files(t, "deploy", ""), workflowFile, "compose.yaml", "Dockerfile") {
		for line := range strings.Lines(read(t, path)) {
			for _, api := range []string{"networking.k8s.io/", "kustomize.config.k8s.io/", "app.kubernetes.io/", "topology.kubernetes.io/", "kubernetes.io/hostname", "prometheus.io/", "keda.sh/", "monitoring.coreos.com/", "helm.sh/", "json-schema.org/"} {
				line = strings.ReplaceAll(line, api, "")
			}
			require.NotRegexp(t, host, line, path)
		}
	}
}

// The templates of the chart are no YAML before they are rendered: test/manifests renders and validates them.
func TestDeploy_EveryFileParses(t *testing.T) {
	for _, path := range append(files(t, "deploy", ".yml", ".yaml", ".json"), workflowFile, "compose.yaml") {
		if strings.HasPrefix(path, "deploy/helm/processor/templates/") {
			continue
		}
		require.NotEmpty(t, documents[any](t, path), path) // JSON is YAML
	}
}

// pin runs a copy of scripts/pin on a workflow and a Dockerfile, and returns what it prints.
func pin(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	script := filepath.Join(dir, "scripts/pin")
	require.NoError(t, os.MkdirAll(filepath.Dir(script), 0o755))
	require.NoError(t, os.WriteFile(script, []byte(read(t, "scripts/pin")), 0o700))
	cmd := exec.CommandContext(t.Context(), script, append(args, "build.yml")...)
	cmd.Env = append(os.Environ(), "ACTIONS_URL="+dir+"/actions")
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func TestPin_MovesActionsToTheNewestReleaseOfTheirMajorVersion(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir + "/actions/team/action", "-c", "user.name=t", "-c", "user.email=t@example.test"}, args...)...)
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, string(output))
		return strings.TrimSpace(string(output))
	}
	require.NoError(t, os.MkdirAll(dir+"/actions/team/action", 0o755))
	git("init", "--quiet")
	commits := map[string]string{}
	for _, tag := range []string{"v4.9.0", "v4.10.0", "v5.0.0", "v5.1.0-beta"} {
		git("commit", "--quiet", "--allow-empty", "--message", tag)
		git("tag", "--annotate", "--message", tag, tag)
		commits[tag] = git("rev-parse", "HEAD")
	}
	workflow := "steps:\n  - uses: team/action@v4\n  - name: Named\n    uses: team/action@" + commits["v4.9.0"] + " # v5.0.0\n  - uses: ./local\n"
	require.NoError(t, os.WriteFile(dir+"/build.yml", []byte(workflow), 0o600))

	output, err := pin(t, dir)
	require.Error(t, err)
	require.Contains(t, output, "not pinned: build.yml:2: uses: team/action@v4")

	output, err = pin(t, dir, "--update")
	require.NoError(t, err, output)
	got, err := os.ReadFile(dir + "/build.yml")
	require.NoError(t, err)
	require.Equal(t, "steps:\n  - uses: team/action@"+commits["v4.10.0"]+" # v4.10.0\n  - name: Named\n    uses: team/action@"+commits["v5.0.0"]+" # v5.0.0\n  - uses: ./local\n", string(got))
}

func TestWorkflow_ActionsArePinnedByCommit(t *testing.T) {
	uses := regexp.MustCompile(`(?m)uses: (.*)$`).FindAllStringSubmatch(read(t, workflowFile), -1)
	require.NotEmpty(t, uses)
	for _, m := range uses {
		require.Regexp(t, `^[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`, m[1])
	}
}
