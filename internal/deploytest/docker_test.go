package deploytest

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
)

// buildContext copies the files that .dockerignore does not exclude, as Docker would, and returns the
// directory of the copy.
func buildContext(t *testing.T) string {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(t, ".dockerignore")))
	require.NoError(t, err)
	ignored, err := patternmatcher.New(patterns)
	require.NoError(t, err)

	// Only included directories, so that the walk skips .git and node_modules.
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

// copies returns the paths that the build stage copies from the context.
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

// The files that the Dockerfile copies are in the build context, suffice for the build, and the binary
// needs no other file.
func TestDockerfile_ContextIsWhatTheBuildNeeds(t *testing.T) {
	t.Parallel()
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

	// The build command of the Dockerfile, for this machine's platform.
	command := regexp.MustCompile(`(?m)^ +CGO_ENABLED=0 GOOS=\$TARGETOS GOARCH=\$TARGETARCH \\\n +(go build .* -o )(\S+) \.$`).
		FindStringSubmatch(read(t, "Dockerfile"))
	require.NotNil(t, command)
	require.Contains(t, read(t, "Dockerfile"), "\nCOPY --from=build "+command[2]+" /processor\n")
	binary := filepath.Join(t.TempDir(), "processor")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command[1]+`"$BINARY" .`)
	cmd.Dir = copied
	cmd.Env = append(os.Environ(), "BINARY="+binary, "VERSION=1.2", "REVISION=abc", "GOFLAGS=-mod=readonly", "GOWORK=off",
		"CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	requireStatic(t, binary)
	requireNoDemoServers(t, binary)

	// An empty environment, as in the image.
	cmd = exec.CommandContext(t.Context(), binary, "version")
	cmd.Dir, cmd.Env = t.TempDir(), []string{}
	output, err = cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), "1.2")
	require.Contains(t, string(output), "abc")

	err = filepath.WalkDir(context, func(path string, _ fs.DirEntry, err error) error {
		require.False(t, strings.HasSuffix(path, "_test.go"), path)
		return err
	})
	require.NoError(t, err)
}

// requireNoDemoServers fails if the binary contains packages that only a demo without servers needs.
func requireNoDemoServers(t *testing.T, path string) {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	require.NoError(t, err)
	for _, module := range info.Deps {
		require.NotContains(t, []string{
			"github.com/alicebob/miniredis/v2",
			"github.com/yuin/gopher-lua",
			"github.com/fergusstrange/embedded-postgres",
		}, module.Path)
	}
}

// requireStatic fails if the binary needs an interpreter or a shared library, which an image FROM scratch
// lacks.
func requireStatic(t *testing.T, path string) {
	t.Helper()
	binary, err := elf.Open(path)
	require.NoError(t, err)
	defer binary.Close()
	for _, p := range binary.Progs {
		require.NotEqual(t, elf.PT_INTERP, p.Type, "it is linked dynamically")
	}
	libraries, err := binary.ImportedLibraries()
	require.NoError(t, err)
	require.Empty(t, libraries)
	info, err := os.Stat(path)
	require.NoError(t, err)
	t.Logf("the binary has %.1f MB", float64(info.Size())/1e6)
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
