package deploytest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type composeProject struct {
	Services map[string]composeService
	Volumes  map[string]any
}

type composeService struct {
	Image       string
	Build       *composeBuild
	PullPolicy  string `json:"pull_policy"`
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	DependsOn   map[string]struct{ Condition string } `json:"depends_on"`
	Healthcheck map[string]any
	ReadOnly    bool `json:"read_only"`
	User        string
	CapDrop     []string `json:"cap_drop"`
	SecurityOpt []string `json:"security_opt"`
	StopGrace   string   `json:"stop_grace_period"`
	MemLimit    string   `json:"mem_limit"`
	Restart     string
}

type composeBuild struct {
	Context string
	Args    map[string]string
}

func composeFile(t *testing.T) composeProject {
	t.Helper()
	return documents[composeProject](t, "compose.yaml")[0]
}

// runtimeVariables are read by Go, not by the service.
var runtimeVariables = []string{"GOMEMLIMIT", "SSL_CERT_FILE"}

func requireVariable(t *testing.T, name, where string) {
	t.Helper()
	for _, known := range runtimeVariables {
		if name == known {
			return
		}
	}
	require.Contains(t, variables(t), name, "%s: the worker has no such variable", where)
}

func TestCompose_RunsTheBinaryAsItIs(t *testing.T) {
	ours := 0
	for name, s := range composeFile(t).Services {
		if s.Image != "processor:local" {
			continue
		}
		ours++
		requireCommand(t, s.Command...)
		for variable := range s.Environment {
			requireVariable(t, variable, "service "+name)
		}
		require.True(t, s.ReadOnly, name)
		require.Equal(t, "65532:65532", s.User, name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Contains(t, s.SecurityOpt, "no-new-privileges:true", name)
		for _, port := range s.Ports {
			require.True(t, strings.HasSuffix(port, fmt.Sprintf(":%d", httpPort(t))), "%s: %s", name, port)
		}
	}
	require.Equal(t, 3, ours, "migrate, worker and fleet")

	grace, err := time.ParseDuration(composeFile(t).Services["worker"].StopGrace)
	require.NoError(t, err)
	require.Greater(t, grace, shutdownTimeout(t))
}

// Concurrent builds of one tag conflict.
func TestCompose_BuildsTheImageOnce(t *testing.T) {
	services := composeFile(t).Services
	var builders []string
	for name, s := range services {
		if s.Build != nil {
			builders = append(builders, name)
		}
	}
	require.Len(t, builders, 1)
	builder := services[builders[0]]
	require.Equal(t, ".", builder.Build.Context)
	dockerfile := read(t, "Dockerfile")
	for arg := range builder.Build.Args {
		require.Regexp(t, `(?m)^ARG `+arg+`\b`, dockerfile)
	}
	for name, s := range services {
		if s.Image == builder.Image && name != builders[0] {
			require.Contains(t, s.DependsOn, builders[0], name)
			require.Equal(t, "never", s.PullPolicy, "%s: no registry has the image", name)
		}
	}
}

func TestCompose_StartsInOrder(t *testing.T) {
	services := composeFile(t).Services
	for name, s := range services {
		for other, wait := range s.DependsOn {
			require.Contains(t, services, other, name)
			switch wait.Condition {
			case "service_healthy":
				require.NotEmpty(t, services[other].Healthcheck, "%s waits for %s, which has no health check", name, other)
			case "service_completed_successfully":
				require.Equal(t, "no", services[other].Restart, "%s waits for the end of %s", name, other)
			default:
				require.Fail(t, "unknown condition", "%s: %s", name, wait.Condition)
			}
		}
	}
	require.Contains(t, services["worker"].DependsOn, "migrate")
	require.Contains(t, services["worker"].DependsOn, "redis")
	require.Contains(t, services["migrate"].DependsOn, "timescaledb")
}

func TestCompose_IsOpenToThisMachineAlone(t *testing.T) {
	project := composeFile(t)
	for name, s := range project.Services {
		for _, port := range s.Ports {
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s: %s", name, port)
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(source, ".") {
				_, err := os.Stat(filepath.Join(root, source))
				require.NoError(t, err, name)
				require.True(t, strings.HasSuffix(volume, ":ro"), "%s: %s", name, volume)
				continue
			}
			require.Contains(t, project.Volumes, source, name)
		}
		require.Regexp(t, `:[a-z]*[\d.]+|:local$`, s.Image, "%s: an image needs a version", name)
		require.NotContains(t, s.Image, "latest", name)
	}
}

// A machine may have taken the default port: each is a variable, and the header names it.
func TestCompose_EveryPortIsAVariable(t *testing.T) {
	header, _, _ := strings.Cut(read(t, "compose.yaml"), "\nname: ")
	variable := regexp.MustCompile(`^127\.0\.0\.1:\$\{([A-Z]+_PORTS?):-(\d+)(?:-(\d+))?\}:(\d+)$`)
	seen := map[string]string{}
	for name, s := range composeFile(t).Services {
		for _, port := range s.Ports {
			m := variable.FindStringSubmatch(port)
			require.NotNil(t, m, "%s: %s", name, port)
			require.Empty(t, seen[m[1]], "%s has the variable of another service", name)
			seen[m[1]] = name
			require.Contains(t, header, m[1])
			require.Equal(t, m[4], m[2], "%s: the default is the port in the container", name)
			require.Equal(t, name == "worker", m[3] != "", "%s: only the worker has replicas", name)
		}
	}
	require.Len(t, seen, 5)
}

// All sources of servers use the same versions.
func TestCompose_HasTheServersThatTheTestsHave(t *testing.T) {
	tested := read(t, "internal/servertest/docker.go")
	for _, name := range []string{"redis", "timescaledb"} {
		image := composeFile(t).Services[name].Image
		require.Contains(t, tested, `"`+image+`"`)
		require.Contains(t, read(t, "docs/testing.md"), "`"+image+"`")
	}
}

// The URLs use users and passwords that the servers are configured with.
func TestCompose_PasswordsMatch(t *testing.T) {
	acl, roles := read(t, "deploy/compose/redis-users.acl"), read(t, "deploy/compose/passwords.sql")
	url := regexp.MustCompile(`^(redis|postgres)://([\w-]+):([\w-]+)@(\w+):`)
	for name, s := range composeFile(t).Services {
		for variable, value := range s.Environment {
			if !strings.HasSuffix(variable, "_URL") {
				continue
			}
			m := url.FindStringSubmatch(value)
			require.NotNil(t, m, "%s: %s", name, value)
			require.Contains(t, composeFile(t).Services, m[4])
			if m[1] == "redis" {
				require.Contains(t, acl, "user "+m[2]+" on >"+m[3]+" ")
				continue
			}
			require.Contains(t, roles, "ALTER ROLE "+m[2]+" PASSWORD '"+m[3]+"';")
			require.Contains(t, read(t, "deploy/postgres/roles.sql"), "ALTER ROLE "+m[2]+" LOGIN;")
		}
	}
}
