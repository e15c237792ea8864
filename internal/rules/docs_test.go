package rules

import (
	"go/ast"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"processor/internal/service"
)

// setting is a row of the table of the worker's configuration.
type setting struct {
	flag, env, fallback string
}

// worker lists the settings of processor run as kong reads them from their struct.
func worker(t *testing.T) []*kong.Flag {
	t.Helper()
	parser, err := kong.New(&service.Config{}, kong.NoDefaultHelp())
	require.NoError(t, err)
	require.NotEmpty(t, parser.Model.Flags)
	return parser.Model.Flags
}

func TestConfig_EverySettingIsExplained(t *testing.T) {
	for _, flag := range worker(t) {
		require.Equal(t, []string{strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))}, flag.Envs, "--%s", flag.Name)
		require.Regexp(t, `^[A-Z].*\.$`, flag.Help, "--%s", flag.Name)
		if !flag.IsBool() {
			require.NotEmpty(t, flag.PlaceHolder, "--%s: which unit", flag.Name)
		}
		if flag.HasDefault {
			require.Contains(t, flag.Help, "(default: "+flag.Default, "--%s", flag.Name)
		}
	}
}

// row matches "| `--flag` | `ENV` | `default` | meaning |". A default without back quotes, such as
// required, counts as no default.
var row = regexp.MustCompile("(?m)^\\| *`--([a-z-]+)` *\\| *`([A-Z_]+)` *\\| *(?:`([^`]*)`|[^`|]*?) *\\| *\\S[^\n]* *\\|$")

func rows(page string) (settings []setting) {
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		settings = append(settings, setting{m[1], m[2], m[3]})
	}
	return settings
}

func TestRows_ReadsTheTable(t *testing.T) {
	require.Equal(t, []setting{
		{"linger", "LINGER", "5ms"}, {"redis-url", "REDIS_URL", ""}, {"pprof-addr", "PPROF_ADDR", ""}, {"redis-consumer", "REDIS_CONSUMER", ""},
	}, rows("| Flag | Variable | Default | Meaning |\n|---|---|---|---|\n"+
		"| `--linger` | `LINGER` | `5ms` | Least time between two reads, `0` to `10s`. |\n"+
		"| `--redis-url` | `REDIS_URL` | required | Redis. |\n"+
		"| `--pprof-addr` | `PPROF_ADDR` | | Profiles. |\n"+
		"|`--redis-consumer`|`REDIS_CONSUMER`| the host's name | Consumer. |\n"+
		"| `--no-meaning` | `NO_MEANING` | `1` | |\n"+
		"Text of `--linger` and `LINGER`.\n"))
}

func TestConfiguration_ListsEverySetting(t *testing.T) {
	page, err := os.ReadFile(path.Join(root, "docs/configuration.md"))
	require.NoError(t, err)
	var want []setting
	for _, flag := range worker(t) {
		want = append(want, setting{flag.Name, flag.Envs[0], flag.Default})
	}
	require.ElementsMatch(t, want, rows(string(page)))
}

var (
	link   = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)|(?m:^\[[^\]]+\]:\s+(\S+))`)
	scheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// brokenLinks lists the links of Markdown files to files that do not exist, as "page: target".
func brokenLinks(t *testing.T, tree fs.FS) (broken []string) {
	t.Helper()
	for _, page := range files(t, tree, ".md") {
		content, err := fs.ReadFile(tree, page)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(content), -1) {
			target, _, _ := strings.Cut(m[1]+m[2], "#")
			if target == "" || scheme.MatchString(target) {
				continue
			}
			if _, err := fs.Stat(tree, path.Join(path.Dir(page), target)); err != nil {
				broken = append(broken, page+": "+target)
			}
		}
	}
	return broken
}

func TestLinks_LeadToFiles(t *testing.T) {
	tree := os.DirFS(root)
	require.NotEmpty(t, files(t, tree, ".md"))
	require.Empty(t, brokenLinks(t, tree))
}

func TestLinks_FindsWhatIsBroken(t *testing.T) {
	page := "[a](docs/there.md#anchor) ![b](<gone.png> \"title\") [c](https://example.org/x) [d](#here) [e](docs/) [f](../outside)\n\n[ref]: docs/missing.md\n"
	require.Equal(t, []string{"README.md: gone.png", "README.md: ../outside", "README.md: docs/missing.md", "docs/there.md: docs/there.md"},
		brokenLinks(t, fstest.MapFS{
			"README.md":              {Data: []byte(page)},
			"docs/there.md":          {Data: []byte("[up](../README.md) [wrong](docs/there.md)")},
			"test/node_modules/x.md": {Data: []byte("[theirs](gone)")},
		}))
}

// namedTests lists the tests of Go files: their functions by package, the root's being "processor".
func namedTests(all []source) map[string][]string {
	found := map[string][]string{}
	for _, s := range all {
		if !s.test() {
			continue
		}
		pkg := path.Base(s.dir())
		if pkg == "." {
			pkg = "processor"
		}
		for _, decl := range s.tree.Decls {
			if f, is := decl.(*ast.FuncDecl); is && f.Recv == nil && testName.MatchString(f.Name.Name) {
				found[f.Name.Name] = append(found[f.Name.Name], pkg)
			}
		}
	}
	return found
}

var (
	testName  = regexp.MustCompile(`^(?:Test|Benchmark|Fuzz)[A-Z]\w*$`)
	testNamed = regexp.MustCompile("`(?:([a-z]+)\\.)?((?:Test|Benchmark|Fuzz)[A-Z]\\w*)`")
)

// unknownTests lists the tests that a page names and no package has. Without a package a name is one of home, or of
// any package where home is empty.
func unknownTests(page, home string, tests map[string][]string) (unknown []string) {
	for _, m := range testNamed.FindAllStringSubmatch(page, -1) {
		pkg := m[1]
		if pkg == "" {
			pkg = home
		}
		if len(tests[m[2]]) == 0 || pkg != "" && !slices.Contains(tests[m[2]], pkg) {
			unknown = append(unknown, strings.Trim(m[0], "`"))
		}
	}
	return unknown
}

// untested lists the rows of tables of faults, by their first cell, whose last cell names no test.
func untested(page string) (faults []string) {
	within := false
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.TrimSpace(strings.ReplaceAll(line, `\|`, "")), "|")
		switch {
		case len(cells) < 4:
			within = false
		case strings.TrimSpace(cells[len(cells)-2]) == "Test":
			within = true
		case within && cells[1] != "---" && !testNamed.MatchString(cells[len(cells)-2]):
			faults = append(faults, strings.TrimSpace(cells[1]))
		}
	}
	return faults
}

func TestDocs_NameTestsThatExist(t *testing.T) {
	tree := os.DirFS(root)
	tests := namedTests(sources(t, tree))
	for _, name := range files(t, tree, ".md") {
		page, err := fs.ReadFile(tree, name)
		require.NoError(t, err)
		home := ""
		if name == "docs/failures.md" {
			home = "faultkit"
		}
		require.Empty(t, unknownTests(string(page), home, tests), name)
	}
}

// Every fault in the table has a test, and every test of faultkit is in the table.
func TestFailures_MapFaultsToTests(t *testing.T) {
	tree := os.DirFS(root)
	page, err := fs.ReadFile(tree, "docs/failures.md")
	require.NoError(t, err)
	require.Empty(t, untested(string(page)))
	missing := []string{}
	for name, packages := range namedTests(sources(t, tree)) {
		if slices.Contains(packages, "faultkit") && strings.HasPrefix(name, "Test") && name != "TestMain" &&
			!strings.Contains(string(page), "`"+name+"`") {
			missing = append(missing, name)
		}
	}
	require.Empty(t, missing)
}

func TestFailures_FindsWhatIsMissing(t *testing.T) {
	tests := map[string][]string{"TestA_B": {"faultkit"}, "FuzzC": {"store", "stream"}}
	page := "`TestA_B` `store.TestA_B` `FuzzC` `stream.FuzzC` `TestGone` TestPlain `store.FuzzC`"
	require.Equal(t, []string{"store.TestA_B", "TestGone"}, unknownTests(page, "", tests))
	require.Equal(t, []string{"store.TestA_B", "FuzzC", "TestGone"}, unknownTests(page, "faultkit", tests))
	require.Equal(t, []string{"none", "prose"}, untested("| Fault | Test |\n|---|---|\n| ok | `TestA_B` |\n| none | |\n| prose | see below |\n\n| a | b |\n|---|---|\n| x | y |\n"))
}

// The layout in docs/architecture.md has a row for every package, and for no other.
func TestArchitecture_ListsEveryPackage(t *testing.T) {
	page, err := os.ReadFile(path.Join(root, "docs/architecture.md"))
	require.NoError(t, err)
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(internal/[a-z]+)` \\| [A-Za-z]").FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, m[1])
	}
	there := map[string]bool{}
	for _, s := range sources(t, os.DirFS(root)) {
		if s.in("internal") {
			there[s.dir()] = true
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(there)), listed)
}
