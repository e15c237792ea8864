package rules

import (
	"io/fs"
	"os"
	"path"
	"regexp"
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

func rows(readme string) (settings []setting) {
	for _, m := range row.FindAllStringSubmatch(readme, -1) {
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

func TestReadme_ListsEverySetting(t *testing.T) {
	readme, err := os.ReadFile(path.Join(root, "README.md"))
	require.NoError(t, err)
	var want []setting
	for _, flag := range worker(t) {
		want = append(want, setting{flag.Name, flag.Envs[0], flag.Default})
	}
	require.ElementsMatch(t, want, rows(string(readme)))
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
