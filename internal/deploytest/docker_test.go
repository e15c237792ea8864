package deploytest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
)

// buildContext copies what .dockerignore lets through, as Docker would, and returns the copy.
func buildContext(t *testing.T) string {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(t, ".dockerignore")))
	require.NoError(t, err)
	ignored, err := patternmatcher.New(patterns)
	require.NoError(t, err)

	// What may pass, so that the walk leaves out .git and node_modules.
	context := t.TempDir()
	for _, pattern := range patterns {
		top, passes := strings.CutPrefix(pattern, "!")
		if !passes {
			continue
		}
		err := filepath.WalkDir(filepath.Join(root, top), func(source string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, source)
			if err != nil {
				return err
			}
			skip, err := ignored.MatchesOrParentMatches(name)
			if err != nil || skip {
				return err
			}
			content, err := os.ReadFile(source)
			if err != nil {
				return err
			}
			target := filepath.Join(context, name)
			return errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, content, 0o600))
		})
		require.NoError(t, err)
	}
	return context
}

// copies are the paths that the build stage takes from the context.
func copies(t *testing.T) []string {
	t.Helper()
	var sources []string
	for _, m := range regexp.MustCompile(`(?m)^COPY ([^-].*)$`).FindAllStringSubmatch(read(t, "Dockerfile"), -1) {
		words := strings.Fields(m[1])
		sources = append(sources, words[:len(words)-1]...)
	}
	require.NotEmpty(t, sources)
	return sources
}

// What the Dockerfile copies passes .dockerignore, and is enough for the build.
func TestDockerfile_ContextIsWhatTheBuildNeeds(t *testing.T) {
	context := buildContext(t)
	copied := t.TempDir()
	for _, source := range copies(t) {
		from, to := filepath.Join(context, source), filepath.Join(copied, source)
		info, err := os.Stat(from)
		require.NoError(t, err, "COPY %s: .dockerignore keeps it out, or it does not exist", source)
		if info.IsDir() {
			require.NoError(t, os.CopyFS(to, os.DirFS(from)))
			continue
		}
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, content, 0o600))
	}

	// Fails where a package, a file that is embedded or a module is missing.
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-mod=readonly", ".")
	cmd.Dir = copied
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), "processor/internal/pipeline\n")

	err = filepath.WalkDir(context, func(path string, _ fs.DirEntry, err error) error {
		require.False(t, strings.HasSuffix(path, "_test.go"), path)
		return err
	})
	require.NoError(t, err)
}

func TestDockerfile_StampsWhatMainReads(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	source := read(t, "main.go")
	for variable, arg := range map[string]string{"version": "VERSION", "revision": "REVISION"} {
		require.Contains(t, dockerfile, "-X main."+variable+"=$"+arg)
		require.Regexp(t, `(?m)^var .*\b`+variable+`\b.* string$`, source)
		require.Regexp(t, `(?m)^ARG `+arg+`\b`, dockerfile)
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	require.Contains(t, dockerfile, "golang:"+goVersion[1]+"-")
	require.Contains(t, dockerfile, fmt.Sprintf("\nEXPOSE %d\n", httpPort(t)))
}

func TestDockerfile_ImageIsTheWorkerWithoutRoot(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	final := dockerfile[strings.LastIndex(dockerfile, "\nFROM "):]
	require.Contains(t, final, "FROM scratch\n")
	require.Contains(t, final, "\nUSER 65532:65532\n")
	require.Contains(t, final, "\nENTRYPOINT [\"/processor\"]\n")
	cmd := regexp.MustCompile(`\nCMD \["(\w+)"\]`).FindStringSubmatch(final)
	require.NotNil(t, cmd)
	requireCommand(t, cmd[1])
}
