package deploytest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/servertest"
)

// fence is a fenced block of a page.
type fence struct{ page, language, text string }

var fencePattern = regexp.MustCompile("(?ms)^( *)```(\\w*)\n(.*?)^ *```$")

// fences lists the fenced blocks of a page, those in lists too.
func fences(page, text string) (all []fence) {
	for _, m := range fencePattern.FindAllStringSubmatch(text, -1) {
		all = append(all, fence{page, m[2], regexp.MustCompile(`(?m)^`+m[1]).ReplaceAllString(m[3], "")})
	}
	return all
}

func TestFences_ReadsAllBlocks(t *testing.T) {
	require.Equal(t, []fence{{"p", "sh", "a\n"}, {"p", "", "b\n\n  c\n"}, {"p", "sql", "d\n"}},
		fences("p", "```sh\na\n```\n- x\n\n  ```\n  b\n\n    c\n  ```\n\n```sql\nd\n```\n"))
}

// allFences lists the blocks of every page of the repository.
func allFences(t *testing.T) (all []fence) {
	t.Helper()
	for _, page := range slices.Concat(files(t, "docs", ".md"), projectPages(t)) {
		all = append(all, fences(page, read(t, page))...)
	}
	require.NotEmpty(t, all)
	return all
}

// whole are the blocks that are run, or read, as they are: by page and language, with the test or step that does it.
var whole = map[string]string{
	"docs/tutorial.md sh":         "TestTutorial_CommandsWork",
	"docs/tutorial.md text":       "TestTutorial_CommandsWork",
	"docs/production.md sh":       "test/machine/inside",
	"docs/production.md text":     "test/machine/inside",
	"docs/systemd.md sh":          "test/machine/inside",
	"docs/redis-users.md sh":      "TestRedisUsers_AreThoseThatAreTried",
	"docs/redis-users.md acl":     "TestRedisUsers_LinesLoad",
	"docs/entry-format.md json":   "TestEntryFormat_RedisCLIExampleIsAPosition",
	"docs/entry-format.md sh":     "TestEntryFormat_RedisCLIExampleIsAPosition",
	"docs/entry-format.md js":     "TestEntryFormat_JavaScriptExampleIsAPosition",
	"docs/entry-format.md python": "TestEntryFormat_PythonExampleIsAPosition",
	"docs/scaling.md js":          "TestScaling_ShardsByDevice",
	"docs/demo.md text":           "TestDemo_TellsTheStoryByTime", // of internal/demo: the page has a recording of such a run
}

// notRun are programs whose commands no test runs, with the reason. What they name of this repository is checked.
var notRun = map[string]string{
	"kubectl":   "no cluster is there; the manifests are validated by .ci/run manifests",
	"helm":      "no cluster is there",
	"kustomize": "is in no package of Debian; .ci/run manifests builds the kustomizations with its library",
	"docker":    "the flags are those with which .ci/run containers runs the image",
	"cosign":    "the keys and the registry are those of a release",
	"just":      "its recipes call scripts/test and .ci/run; .ci/run justfile reads them",
}

// Every block of every page is run, or each of its commands and statements is checked; what is neither fails here.
func TestDocs_EveryBlockIsExercised(t *testing.T) {
	c := checker{t: t}
	seen := map[string]bool{}
	for _, f := range allFences(t) {
		key := strings.TrimSpace(f.page + " " + f.language)
		if by, is := whole[key]; is {
			seen[key] = true
			if strings.HasPrefix(by, "test/") {
				require.Contains(t, read(t, by), strings.TrimSuffix(filepath.Base(f.page), ".md"))
			}
			continue
		}
		switch f.language {
		case "sh":
			for _, command := range shellCommands(f.text) {
				c.command(f.page, command)
			}
		case "json":
			require.True(t, json.Valid([]byte(f.text)), "%s: %s", f.page, f.text)
		case "yaml":
			var any any
			require.NoError(t, yaml.Unmarshal([]byte(f.text), &any), "%s: %s", f.page, f.text)
		case "promql":
			requireQueries(t, f)
		case "sql": // TestDocs_StatementsRun
		case "", "text": // pictures and output
			require.NotRegexp(t, `(?m)^\s*(?:\$ |processor |psql |redis-cli |SELECT )`, f.text, "%s: which language?", f.page)
		default:
			require.Fail(t, "nothing exercises this block", "%s: ```%s\n%s", f.page, f.language, f.text)
		}
	}
	for key := range whole {
		require.True(t, seen[key], "no block is %s", key)
	}
	require.ElementsMatch(t, []string{"curl", "dbmate", "go", "processor", "psql", "redis-cli"}, c.tried)
}

// requireQueries checks each line of a block of PromQL.
func requireQueries(t *testing.T, f fence) {
	t.Helper()
	rules := "groups:\n- name: page\n  rules:\n"
	for i, line := range strings.Split(strings.TrimSpace(f.text), "\n") {
		rules += fmt.Sprintf("  - record: page:line%d\n    expr: %q\n", i, line)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	promtool(t, "", "check", "rules", file)
}

// shellCommands splits a block into simple commands, each a list of words, without assignments, redirections, quotes, comments
// and the words of a list or a pipe.
func shellCommands(text string) (all [][]string) {
	for line := range strings.Lines(oneLine(text)) {
		var words []string
		flush := func() {
			for len(words) > 0 && (regexp.MustCompile(`^\w+=`).MatchString(words[0]) || slices.Contains([]string{"export", "sudo", "("}, words[0])) {
				words = words[1:]
			}
			if len(words) > 0 {
				all = append(all, words)
			}
			words = nil
		}
		for _, word := range shellWords(line) {
			switch {
			case slices.Contains([]string{"|", "||", "&&", ";", "&", "(", ")"}, word):
				flush()
			case strings.HasPrefix(word, ">"), strings.HasPrefix(word, "2>"): // a redirection without a space
			default:
				words = append(words, strings.NewReplacer(`"`, "", "'", "").Replace(word))
			}
		}
		flush()
	}
	return all
}

var shellWord = regexp.MustCompile(`\s+#.*|^#.*|&&|\|\||[|;&()]|(?:"[^"]*"|'[^']*'|\$\([^)]*\)|[^\s"'|;&()])+`)

func shellWords(line string) (words []string) {
	for _, word := range shellWord.FindAllString(strings.TrimSpace(line), -1) {
		if !strings.HasPrefix(strings.TrimSpace(word), "#") {
			words = append(words, word)
		}
	}
	return words
}

func TestShellCommands_SplitsLines(t *testing.T) {
	require.Equal(t, [][]string{
		{"a", "--b=c d", "e f"}, {"grep", "-E", "x|y"}, {"cd", "g"}, {"kustomize", "image=$i"}, {"go", "test", "-run", "^$"}, {"k", "--p=$(cat f)", "l"},
	}, shellCommands("A=1 a --b='c d' \"e f\" | grep -E 'x|y' # comment\n# whole\n(cd g && kustomize image=\"$i\")\nx=1\ngo test -run '^$' &\nk --p=\"$(cat f)\" \\\n    l >out\n"))
}

// checker checks commands. Its servers start with the first command that needs them.
type checker struct {
	t     *testing.T
	redis *redis.Client
	tried []string
}

func (c *checker) command(page string, words []string) {
	c.t.Helper()
	at := page + ": " + strings.Join(words, " ")
	program := strings.TrimSuffix(filepath.Base(words[0]), "@2")
	if _, is := notRun[program]; is {
		c.names(at, words)
		if i := slices.IndexFunc(words, isProcessor); i > 0 {
			c.processor(at, words[i+1:])
		}
		return
	}
	switch program {
	case "processor":
		c.processor(at, words[1:])
	case "go":
		c.goTool(at, words[1:])
	case "jq", "base64":
		return
	case "test", "run", "publish": // scripts/test, test/containers/run, .ci/run
		c.script(at, words)
		return
	case "curl":
		c.curl(at, words[1:])
	case "psql":
		c.names(at, words)
	case "redis-cli":
		c.redisCLI(at, words[1:])
	case "dbmate": // TestDocs_DbmateMigrates
	case "cd", "grep", "echo", "export":
		return
	default:
		require.Fail(c.t, "no test exercises this command: add a check, or a reason to notRun", at)
	}
	if !slices.Contains(c.tried, program) {
		c.tried = append(c.tried, program)
	}
}

func isProcessor(word string) bool {
	return filepath.Base(word) == "processor" && strings.HasPrefix(word, "/")
}

// processor tries a command line without placeholders.
func (c *checker) processor(at string, args []string) {
	c.t.Helper()
	args = slices.DeleteFunc(slices.Clone(args), func(word string) bool { return strings.HasPrefix(word, "<") })
	require.NotEmpty(c.t, args, at)
	requireCommand(c.t, args...)
}

// names checks that paths below this repository's directories exist, and that objects of the manifests do.
func (c *checker) names(at string, words []string) {
	c.t.Helper()
	for _, word := range words {
		if regexp.MustCompile(`^(?:deploy|docs|sql|scripts|test|internal)/[a-z]`).MatchString(word) && word != "deploy/processor" {
			_, err := os.Stat(filepath.Join(root, word))
			require.NoError(c.t, err, at)
		}
	}
}

// goTool checks packages, tests and the arguments of the binary in a command of go.
func (c *checker) goTool(at string, args []string) {
	c.t.Helper()
	switch {
	case args[0] == "run" && args[1] == ".":
		c.processor(at, args[2:])
	case args[0] == "build":
		require.Contains(c.t, read(c.t, "docs/tutorial.md"), strings.Join(append([]string{"go"}, args...), " "), at)
	case args[0] == "test":
		c.goTest(at, args[1:])
	case args[0] == "install": // the version that scripts/publish uses
		tool, version, _ := strings.Cut(args[1], "@")
		require.Regexp(c.t, `(?s)_version=`+regexp.QuoteMeta(version)+`\n.* `+regexp.QuoteMeta(tool)+` `, read(c.t, "scripts/publish"), at)
	default:
		require.Fail(c.t, "no test exercises this command", at)
	}
}

func (c *checker) goTest(at string, args []string) {
	c.t.Helper()
	pattern, dirs, text := "", []string{}, ""
	for i, arg := range args {
		if (arg == "-run" || arg == "-fuzz" || arg == "-bench") && args[i+1] != "^$" {
			pattern = args[i+1]
		}
		if strings.HasPrefix(arg, "./") && arg != "./..." {
			dirs = append(dirs, arg)
		}
	}
	require.NotEmpty(c.t, dirs, at)
	for _, dir := range dirs {
		all, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		require.NoError(c.t, err)
		require.NotEmpty(c.t, all, at)
		for _, file := range all {
			content, err := os.ReadFile(file)
			require.NoError(c.t, err)
			text += string(content)
		}
	}
	found := false
	for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllStringSubmatch(text, -1) {
		found = found || regexp.MustCompile(pattern).MatchString(m[1])
	}
	require.True(c.t, found, at)
	for _, arg := range args {
		if name, is := strings.CutPrefix(arg, "-soak."); is {
			require.Contains(c.t, text, `"soak.`+name+`"`, at)
		}
	}
}

// script checks that a script of this repository is there and has the steps.
func (c *checker) script(at string, words []string) {
	c.t.Helper()
	require.Contains(c.t, []string{"scripts/test", "scripts/publish", ".ci/run", "test/containers/run", "test/machine/run"}, words[0], at)
	text := read(c.t, words[0])
	for _, word := range words[1:] {
		switch {
		case words[0] == "scripts/test" && strings.HasPrefix(word, "./"):
			c.goTest(at, words[1:])
			return
		case strings.HasPrefix(word, "--"):
			require.Contains(c.t, text, word, at)
		case words[0] == "scripts/publish":
			require.Regexp(c.t, `(?m)^  `+word+`\) \[ "\$#" = `+strconv.Itoa(len(words)-1)+` \]`, text, at)
			return
		case words[0] == ".ci/run":
			require.Regexp(c.t, `(?m)^`+word+`\(\) \{$|^    `+word+`\) `, text, at)
		}
	}
}

// curl checks that the worker serves the path.
func (c *checker) curl(at string, args []string) {
	c.t.Helper()
	i := slices.IndexFunc(args, func(arg string) bool { return strings.Contains(arg, "localhost:") })
	require.GreaterOrEqual(c.t, i, 0, at)
	_, path, _ := strings.Cut(args[i], "/")
	require.Contains(c.t, read(c.t, "internal/observe/server.go"), `"GET /`+path+`"`, at)
}

// redisCLI checks that the user of a command may send it, and that Redis knows it.
func (c *checker) redisCLI(at string, args []string) {
	c.t.Helper()
	user, command := "processor", []any{}
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--user":
			i++
			user = args[i]
		case slices.Contains([]string{"-u", "-h", "-p"}, args[i]):
			i++
		case strings.HasPrefix(args[i], "-"):
		default:
			command = append(command, args[i])
		}
	}
	reply, err := c.users().Do(c.t.Context(), append([]any{"ACL", "DRYRUN", user}, command...)...).Text()
	require.NoError(c.t, err, at)
	require.Equal(c.t, "OK", reply, at)
}

// users is a Redis with the users of docs/redis-users.md.
func (c *checker) users() *redis.Client {
	c.t.Helper()
	if c.redis != nil {
		return c.redis
	}
	options, err := redis.ParseURL(servertest.NewRedis(c.t, sandbox.RedisOptions{}).URL())
	require.NoError(c.t, err)
	c.redis = redis.NewClient(options)
	c.t.Cleanup(func() { require.NoError(c.t, c.redis.Close()) })
	for lines := bufio.NewScanner(strings.NewReader(read(c.t, "deploy/redis/users.acl"))); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if words[1] == "default" {
			continue // it would lock this client out
		}
		args := []any{"ACL", "SETUSER"}
		for _, word := range words[1:] {
			args = append(args, word)
		}
		require.NoError(c.t, c.redis.Do(c.t.Context(), args...).Err(), lines.Text())
	}
	return c.redis
}

// The statements of the pages run on TimescaleDB with the migrations and the roles, in order. Those of sql.md have a test with rows.
func TestDocs_StatementsRun(t *testing.T) {
	target := servertest.TimescaleDB(t)
	servertest.Execute(t, target, "CREATE EXTENSION IF NOT EXISTS timescaledb", "CREATE ROLE processor LOGIN")
	require.NoError(t, schema.MigrateUp(t.Context(), target))
	ran := 0
	for _, f := range allFences(t) {
		if f.language != "sql" || f.page == "docs/sql.md" {
			continue
		}
		for _, statement := range regexp.MustCompile(`;\s*(?:--[^\n]*)?\n`).Split(strings.TrimSpace(f.text)+"\n", -1) {
			if strings.TrimSpace(statement) != "" {
				servertest.Execute(t, target, statement)
				ran++
			}
		}
	}
	require.GreaterOrEqual(t, ran, 8)
}

// The tools that the production page calls are found before it is pasted.
func TestProduction_NamesFilesThatExist(t *testing.T) {
	page := read(t, "docs/production.md")
	for _, path := range regexp.MustCompile(`\bdeploy/[\w./-]+`).FindAllString(page, -1) {
		_, err := os.Stat(filepath.Join(root, path))
		require.NoError(t, err)
	}
	require.Equal(t, blocks(read(t, "docs/redis-users.md"), "acl")[0], read(t, "deploy/redis/users.acl"))
	for _, script := range []string{"test/machine/run", "test/machine/inside"} {
		out, err := exec.CommandContext(t.Context(), "bash", "-n", filepath.Join(root, script)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}
