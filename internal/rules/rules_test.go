package rules

import (
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// coreNeverImportsDomain: a change of domain logic must not affect the core.
func coreNeverImportsDomain(all []source) (violations []string) {
	for _, s := range all {
		if s.path == "main.go" || s.in("internal/cli", "internal/domain") {
			continue
		}
		for pkg, spec := range s.imports() {
			if within(pkg, "internal/domain") {
				violations = append(violations, s.at(spec, "%s imports %s", s.dir(), pkg))
			}
		}
	}
	return violations
}

// fewImportDB: rows and errors of the generated code are converted where they are asked for.
func fewImportDB(all []source) (violations []string) {
	for _, s := range all {
		if spec, is := s.imports()["db"]; is && !s.test() && !s.in("internal/store", "internal/schema", "internal/inspect", "internal/bench") {
			violations = append(violations, s.at(spec, "%s imports db", s.dir()))
		}
	}
	return violations
}

func corePackages() []string {
	return []string{
		"internal/position", "internal/retry", "internal/stream", "internal/column", "internal/schema", "internal/store", "internal/device", "internal/pipeline", "internal/observe",
	}
}

// coreStandsAlone: no core package depends on commands, test helpers or the service, directly or indirectly.
func coreStandsAlone(all []source) (violations []string) {
	around := []string{
		"internal/cli", "internal/console", "internal/demo", "internal/bench", "internal/fleet", "internal/sandbox", "internal/servertest", "internal/service",
		"internal/status", "internal/trace",
	}
	graph := map[string]map[string]bool{}
	for _, s := range all {
		for pkg := range s.imports() {
			if s.test() {
				continue
			}
			if graph[s.dir()] == nil {
				graph[s.dir()] = map[string]bool{}
			}
			graph[s.dir()][pkg] = true
		}
	}
	for _, core := range corePackages() {
		reached := map[string]bool{}
		next := []string{core}
		for len(next) > 0 {
			pkg := next[0]
			next = next[1:]
			for imported := range graph[pkg] {
				if !reached[imported] {
					reached[imported] = true
					next = append(next, imported)
				}
			}
		}
		for _, pkg := range slices.Sorted(maps.Keys(reached)) {
			if slices.Contains(around, pkg) {
				violations = append(violations, core+" needs "+pkg)
			}
		}
	}
	return violations
}

// statement matches text that begins like SQL, but not an English sentence about SQL.
var statement = regexp.MustCompile(`(?is)^\s*(?:--\s.+|SELECT\s.+|WITH\s+\w+\s+AS\s.+|INSERT\s+INTO\s.+|UPDATE\s.+\sSET\s.+|DELETE\s+FROM\s.+|` +
	`COPY\s.+\s(?:FROM|TO)\s.+|(?-i:TRUNCATE)\s.+|TRUNCATE\s+TABLE\s.+|GRANT\s.+\sTO\s.+|REVOKE\s.+\sFROM\s.+|` +
	`(?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+|UNIQUE\s+)?(?:TABLE|INDEX|VIEW|MATERIALIZED|EXTENSION|DATABASE|SCHEMA|ROLE|USER|SYSTEM|FUNCTION|TYPE)\s.+)`)

// sqlStandsInSQL: SQL is reviewed as SQL, in sql/. Go contains none, not even in hints for a person.
func sqlStandsInSQL(all []source) (violations []string) {
	for _, s := range all {
		if s.test() || s.in("db") || s.in(testPackages()...) {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr: // the text of an error is prose
				on, name := callee(n)
				return (on != "fmt" || name != "Errorf") && (on != "errors" || name != "New")
			case *ast.BasicLit:
				if text := literal(n); statement.MatchString(text) {
					violations = append(violations, s.at(n, "SQL in Go: %q", text))
				}
			}
			return true
		})
		calls(s, func(call *ast.CallExpr, _, name string) {
			switch strings.TrimSuffix(name, "Context") {
			case "Exec", "Query", "QueryRow", "Prepare", "Queue":
				ast.Inspect(call, func(n ast.Node) bool {
					if lit, is := n.(*ast.BasicLit); is && literal(lit) != "" {
						violations = append(violations, s.at(lit, "%s of a literal", name))
					}
					return true
				})
			}
		})
	}
	return violations
}

// testPackages are packages that only tests use.
func testPackages() []string { return []string{"internal/servertest", "internal/faultkit"} }

// testsWaitForEvents: a test that sleeps is slow on a fast machine and fails on a slow one, and a test that
// skips proves nothing.
func testsWaitForEvents(all []source) (violations []string) {
	for _, s := range all {
		if !s.test() && !s.in(testPackages()...) {
			continue
		}
		calls(s, func(call *ast.CallExpr, on, name string) {
			switch {
			case on == "time" && name == "Sleep",
				name == "SkipNow", name == "Skipf",
				name == "Skip" && slices.Contains([]string{"t", "b", "f", "tb"}, on):
				violations = append(violations, s.at(call, "%s.%s", on, name))
			}
		})
	}
	return violations
}

// contextsComeFromMain: the caller decides when an operation ends.
func contextsComeFromMain(all []source) (violations []string) {
	for _, s := range all {
		if s.test() || s.path == "main.go" || s.in(testPackages()...) {
			continue
		}
		calls(s, func(call *ast.CallExpr, on, name string) {
			if on == "context" && (name == "Background" || name == "TODO") {
				violations = append(violations, s.at(call, "context.%s", name))
			}
		})
	}
	return violations
}

// nothingHappensOnImport: no func init.
func nothingHappensOnImport(all []source) (violations []string) {
	for _, s := range all {
		for _, decl := range s.tree.Decls {
			if f, is := decl.(*ast.FuncDecl); is && f.Recv == nil && f.Name.Name == "init" {
				violations = append(violations, s.at(f, "func init"))
			}
		}
	}
	return violations
}

// internalIsFlat: one level of small packages.
func internalIsFlat(all []source) (violations []string) {
	for _, s := range all {
		if s.in("internal") && strings.Count(s.dir(), "/") != 1 {
			violations = append(violations, s.at(s.tree, "package %s", s.dir()))
		}
	}
	return violations
}

type rule struct {
	check func([]source) []string
	// breaks maps files that break the rule, or nearly, to their content; found are the expected violations.
	breaks map[string]string
	found  []string
}

func allRules() map[string]rule {
	return map[string]rule{
		"core never imports domain": {coreNeverImportsDomain, map[string]string{
			"internal/domain/race/race.go": `package race; import _ "processor/internal/domain"`,
			"internal/cli/run.go":          `package cli; import _ "processor/internal/domain/race"`,
			"main.go":                      `package main; import _ "processor/internal/domain"`,
			"internal/domains/d.go":        `package domains; import _ "processor/internal/domainless"`,
			"internal/store/store.go":      `package store; import _ "processor/internal/domain/race"`,
			"internal/store/store_test.go": `package store; import _ "processor/internal/domain"`,
		}, []string{
			"internal/store/store.go:1: internal/store imports internal/domain/race",
			"internal/store/store_test.go:1: internal/store imports internal/domain",
		}},
		"few packages import db": {fewImportDB, map[string]string{
			"internal/store/store.go":     `package store; import _ "processor/db"`,
			"internal/schema/check.go":    `package schema; import _ "processor/db"`,
			"internal/inspect/try.go":     `package inspect; import _ "processor/db"`,
			"internal/bench/load.go":      `package bench; import _ "processor/db"`,
			"internal/doctor/doc_test.go": `package doctor; import _ "processor/db"`,
			"internal/doctor/doctor.go":   `package doctor; import _ "processor/db"`,
			"internal/column/column.go":   `package column; import _ "processor/db"`,
		}, []string{"internal/column/column.go:1: internal/column imports db", "internal/doctor/doctor.go:1: internal/doctor imports db"}},
		"core stands alone": {coreStandsAlone, map[string]string{
			"internal/cli/cli.go":           `package cli; import _ "processor/internal/store"`,
			"internal/store/store.go":       `package store; import _ "processor/internal/position"`,
			"internal/store/store_test.go":  `package store; import _ "processor/internal/servertest"`,
			"internal/position/position.go": `package position; import _ "processor/internal/helper"`,
			"internal/helper/helper.go":     `package helper; import _ "processor/internal/fleet"`,
			"internal/device/device.go":     `package device; import _ "processor/internal/service"`,
		}, []string{
			"internal/position needs internal/fleet", "internal/store needs internal/fleet", "internal/device needs internal/service",
		}},
		"SQL stands in SQL": {sqlStandsInSQL, map[string]string{
			"db/db.go":                 "package db; const q = `SELECT 1`",
			"internal/a/a_test.go":     `package a; const q = "DELETE FROM positions"`,
			"internal/doctor/a.go":     `package doctor; const hint = "GRANT SELECT ON positions TO x"`,
			"internal/doctor/b.go":     "package doctor\nfunc f() { conn.Exec(ctx, `ALTER TABLE positions`) }",
			"internal/a/prose.go":      `package a; var prose = []string{"truncate positions", "Delete all?", "--flag", "create the database, or drop it"}`,
			"internal/a/error.go":      `package a; func f() { return fmt.Errorf("drop database %s: %w", name, err) }`,
			"internal/a/hint.go":       `package a; func Hint() { return "GRANT SELECT ON positions TO x" }`,
			"internal/a/constant.go":   "package a; const q = `\n\tinsert into positions VALUES (1)`",
			"internal/a/formatted.go":  `package a; func f() { s := fmt.Sprintf("select * FROM %s", table) }`,
			"internal/a/handed.go":     `package a; func f() { conn.QueryRow(ctx, "VACUUM "+table) }`,
			"internal/a/commented.go":  `package a; const q = "-- why\nSELECT 1"`,
			"internal/servertest/a.go": `package servertest; const q = "DROP TABLE positions"`,
		}, []string{
			`internal/a/commented.go:1: SQL in Go: "-- why\nSELECT 1"`,
			`internal/a/constant.go:1: SQL in Go: "\n\tinsert into positions VALUES (1)"`,
			`internal/a/formatted.go:1: SQL in Go: "select * FROM %s"`,
			"internal/a/handed.go:1: QueryRow of a literal",
			`internal/a/hint.go:1: SQL in Go: "GRANT SELECT ON positions TO x"`,
			`internal/doctor/a.go:1: SQL in Go: "GRANT SELECT ON positions TO x"`,
			`internal/doctor/b.go:2: SQL in Go: "ALTER TABLE positions"`,
			"internal/doctor/b.go:2: Exec of a literal",
		}},
		"tests wait for events": {testsWaitForEvents, map[string]string{
			"internal/a/a.go":          `package a; func f() { time.Sleep(1); decoder.Skip() }`,
			"internal/a/a_test.go":     `package a; func f() { decoder.Skip(); time.Sleep(1); t.Skip(); r.t.Skipf("x"); b.SkipNow() }`,
			"internal/servertest/a.go": "package servertest\n\nfunc f() { t.Skip() }",
		}, []string{
			"internal/a/a_test.go:1: time.Sleep", "internal/a/a_test.go:1: t.Skip",
			"internal/a/a_test.go:1: t.Skipf", "internal/a/a_test.go:1: b.SkipNow", "internal/servertest/a.go:3: t.Skip",
		}},
		"contexts come from main": {contextsComeFromMain, map[string]string{
			"main.go":              `package main; func f() { context.Background() }`,
			"internal/a/a_test.go": `package a; func f() { context.Background() }`,
			"internal/a/a.go":      `package a; func f() { context.TODO(); ctx.Background(); context.Background() }`,
		}, []string{"internal/a/a.go:1: context.TODO", "internal/a/a.go:1: context.Background"}},
		"nothing happens on import": {nothingHappensOnImport, map[string]string{
			"internal/a/a.go":      "package a\nfunc (x) init() {}\nfunc initialize() {}",
			"internal/a/b_test.go": "package a\nfunc init() {}",
		}, []string{"internal/a/b_test.go:2: func init"}},
		"files come in order": {filesComeInOrder, map[string]string{
			"internal/store/a.go": "// Package store: b.go, then a.go.\npackage store\ntype A struct{ b B }\nfunc (A) m() {}",
			"internal/store/b.go": "package store\ntype B struct{}\nfunc f(b B) {}\nfunc g(a A) {\na.m() }",
			"internal/store/c.go": "package store",
			"internal/other/a.go": "package other; var _ = later",
		}, []string{
			"internal/store/c.go is not in the package comment",
			"internal/store/b.go:4: A is in a.go, a later file", "internal/store/b.go:5: m is in a.go, a later file",
		}},
		"functions call downwards": {functionsCallDownwards, map[string]string{
			"internal/store/a.go": "package store\ntype T struct{}\nfunc (t T) f() { t.g() }\nfunc (t T) g() { h(t) }\nfunc self() { self() }",
			"internal/store/b.go": "package store; func h(t T) { t.f(); below() }; func below() {}",
		}, []string{
			"internal/store: f and h call each other", "internal/store: g and f call each other", "internal/store: h and g call each other",
		}},
		"pieces are small": {piecesAreSmall, map[string]string{
			"internal/store/long.go":   "package store\nfunc f() {" + strings.Repeat("\n", 60) + "}\nfunc g() {" + strings.Repeat("\n", 59) + "}",
			"internal/store/large.go":  "package store" + strings.Repeat("\n", 251),
			"internal/store/fit.go":    "package store" + strings.Repeat("\n", 250),
			"internal/store/a_test.go": "package store" + strings.Repeat("\n", 251),
			"internal/store/b_test.go": "package store\nfunc f() {" + strings.Repeat("\n", 60) + "}",
			"internal/store/fields.go": "package store\ntype T struct{ a, b, c, d, e, f, g int; h string }\ntype U struct{ T; a, b, c, d, e, f, g, h int }",
			"internal/other/large.go":  "package other" + strings.Repeat("\n", 251),
		}, []string{
			"internal/store/a_test.go has 251 lines", "internal/store/fields.go:3: U has 9 fields", "internal/store/large.go has 251 lines", "internal/store/long.go:2: f has 61 lines",
		}},
		"internal is flat": {internalIsFlat, map[string]string{
			"main.go":           "package main",
			"internal/a/a.go":   "package a",
			"internal/a/b/b.go": "package b",
			"internal/c.go":     "package internal",
		}, []string{"internal/a/b/b.go:1: package internal/a/b", "internal/c.go:1: package internal"}},
	}
}

func TestRules_Hold(t *testing.T) {
	all := sources(t, os.DirFS(root))
	paths := map[string]bool{}
	for _, s := range all {
		paths[s.path], paths[s.dir()] = true, true
	}
	require.Subset(t, slices.Collect(maps.Keys(paths)), append(corePackages(), "main.go", "db", "internal/rules/rules_test.go"))
	for name, r := range allRules() {
		t.Run(name, func(t *testing.T) { require.Empty(t, r.check(all)) })
	}
}

func tree(files map[string]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for path, content := range files {
		tree[path] = &fstest.MapFile{Data: []byte(content)}
	}
	return tree
}

func TestRules_FindWhatBreaksThem(t *testing.T) {
	for name, r := range allRules() {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, r.found, r.check(sources(t, tree(r.breaks))))
		})
	}
}
