package deploytest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// explanations are the pages for the people who change the worker.
var explanations = []string{"docs/architecture.md", "docs/benchmark.md", "docs/decisions.md", "docs/failures.md", "docs/testing.md"}

// docs are the pages for the people who run the worker: README and all of docs/ but the explanations.
func docs(t *testing.T) []string {
	t.Helper()
	pages := []string{"README.md"}
	for _, page := range files(t, "docs", ".md") {
		if !slices.Contains(explanations, page) {
			pages = append(pages, page)
		}
	}
	require.Subset(t, pages, []string{"docs/README.md", "docs/operations.md"})
	return pages
}

// projectPages are the pages at the top of the repository.
func projectPages(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root, "*.md"))
	require.NoError(t, err)
	for i := range pages {
		pages[i] = filepath.Base(pages[i])
	}
	return pages
}

// Every page of docs/ is in the index, and README leads to the index.
func TestDocs_IndexListsEveryPage(t *testing.T) {
	index := read(t, "docs/README.md")
	for _, page := range files(t, "docs", ".md") {
		if page != "docs/README.md" {
			require.Contains(t, index, "]("+filepath.Base(page)+")", page)
		}
	}
	require.Contains(t, read(t, "README.md"), "](docs/README.md)")
	require.LessOrEqual(t, strings.Count(read(t, "README.md"), "\n"), 150)
}

// anchorsOf lists the anchors of a page's headings, as Gitea and GitHub generate them.
func anchorsOf(t *testing.T, page string) []string {
	t.Helper()
	var anchors []string
	for _, heading := range regexp.MustCompile(`(?m)^#{1,6} (.+)$`).FindAllStringSubmatch(read(t, page), -1) {
		slug := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors = append(anchors, strings.ReplaceAll(slug, " ", "-"))
	}
	return anchors
}

func TestDocs_LinksLeadSomewhere(t *testing.T) {
	for _, page := range slices.Concat(docs(t), explanations, projectPages(t)) {
		links := regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(read(t, page), -1)
		for _, link := range links {
			target := page
			if strings.HasPrefix(link[1], "https://") {
				continue
			}
			if link[1] != "" {
				target = filepath.Join(filepath.Dir(page), link[1])
			}
			_, err := os.Stat(filepath.Join(root, target))
			require.NoError(t, err, page)
			if link[2] != "" {
				require.Contains(t, anchorsOf(t, target), link[2], page)
			}
		}
	}
}

// Paths in back quotes are files of this repository.
func TestDocs_PathsExist(t *testing.T) {
	for _, page := range slices.Concat(docs(t), explanations) {
		for _, m := range regexp.MustCompile("`((?:deploy|docs|sql|scripts|internal|\\.gitea)/[\\w./-]+)`").FindAllStringSubmatch(read(t, page), -1) {
			_, err := os.Stat(filepath.Join(root, m[1]))
			require.NoError(t, err, page)
		}
	}
}

// oneLine joins lines that end with a backslash with the next line.
func oneLine(text string) string {
	return regexp.MustCompile(` \\\n +`).ReplaceAllString(text, " ")
}

var commandPattern = regexp.MustCompile("(?m)(?:^|`|-- /)processor ([a-z][^`\n#]*)")

// The binary accepts every command line in the docs.
func TestDocs_CommandsExist(t *testing.T) {
	shown := map[string]bool{}
	for _, page := range docs(t) {
		for _, m := range commandPattern.FindAllStringSubmatch(oneLine(read(t, page)), -1) {
			var args []string
			for _, word := range strings.Fields(strings.TrimSuffix(m[1], "`")) {
				word = strings.Trim(word, "`.,;:")
				if strings.HasPrefix(word, "<") {
					continue // a placeholder
				}
				args = append(args, word)
			}
			shown[args[0]] = true
			requireCommand(t, args...)
		}
	}
	for _, command := range []string{"status", "doctor", "dlq", "migrate"} {
		require.True(t, shown[command], command)
	}
}

// dbmate's up also creates the database, for which the migrating role has no privilege.
func TestDocs_DbmateMigrates(t *testing.T) {
	found := 0
	for _, page := range append([]string{"dbmate.env"}, docs(t)...) {
		for _, m := range regexp.MustCompile(`dbmate(?:@2)? --env-file dbmate\.env (\w+)`).FindAllStringSubmatch(read(t, page), -1) {
			found++
			require.Contains(t, []string{"migrate", "status"}, m[1], page)
		}
	}
	require.Positive(t, found)
}

// foreign are words in capitals that are not settings of the worker.
var foreign = []string{
	"HELLO", "AUTH", "PING", "XADD", "XDEL", "DEL", "FLUSHALL", "XTRIM", "XACK", "MAXLEN", "COPY", "LOGIN", "CREATE",
	"NOPERM", "READONLY", "PASSWORD", "INFO", "SELECT", "INSERT", "UPDATE", "GRANT", "REVOKE", "WHERE",
	"REGISTRY_TOKEN", "REGISTRY_USER", "COSIGN_PRIVATE_KEY", "COSIGN_PASSWORD", "NAME", "PUBLIC", "TEMPORARY", "CONNECT", "EXECUTE", "USAGE", "UPDATE_DOCS", "XLEN", "AF_UNIX", "JUSTID", "UNLOGGED", "BENCH_REDIS_URL", "BENCH_DATABASE_URL", "CONSOLE_TOKEN", "CONSOLE_TOKEN_FILE", "CONSOLE_HOST",
}

func TestDocs_VariablesExist(t *testing.T) {
	for _, page := range docs(t) {
		for _, m := range regexp.MustCompile("`([A-Z][A-Z_]{2,})(?:=[^`]*)?`").FindAllStringSubmatch(read(t, page), -1) {
			if page != "docs/cli.md" && !slices.Contains(foreign, m[1]) { // cli.md is made of the flags
				requireVariable(t, m[1], page)
			}
		}
	}
}

// Durations and numbers in the docs for a setting are its defaults.
func TestDocs_DefaultsAreThoseOfTheCode(t *testing.T) {
	found := 0
	for _, page := range docs(t) {
		for _, m := range regexp.MustCompile("`([A-Z_]+)`\\s\\((\\d+) s\\)").FindAllStringSubmatch(read(t, page), -1) {
			found++
			require.Equal(t, variables(t)[m[1]], m[2]+"s", "%s: %s", page, m[1])
		}
	}
	require.Positive(t, found)
}

func TestDocs_AlertsAndMetricsExist(t *testing.T) {
	alerts := map[string]bool{}
	recorded := map[string]bool{}
	for _, r := range rules(t) {
		alerts[r.Alert] = true
		recorded[r.Record] = true
	}
	known := metrics(t)
	for _, page := range docs(t) {
		text := read(t, page)
		for _, name := range regexp.MustCompile(`\bProcessor[A-Z]\w+`).FindAllString(text, -1) {
			require.True(t, alerts[name], "%s: no alert %s", page, name)
		}
		for _, m := range regexp.MustCompile("(?m)`?\\b((?:\\w+:)?processor_[a-z_]+(?::\\w+)?)").FindAllStringSubmatch(text, -1) {
			if name := m[1]; !isRole(name) {
				_, is := known[exposed(known, name)]
				require.True(t, is || recorded[name], "%s: no metric %s", page, name)
			}
		}
	}
}

// isRole reports whether a word is a role, with its password in a URL, or a table of PostgreSQL, not a metric.
func isRole(name string) bool {
	name, _, _ = strings.Cut(name, ":")
	return slices.Contains([]string{"processor_migrate", "processor_reader", "processor_schema_migrations"}, name)
}
