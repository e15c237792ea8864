package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the repository's root.
const root = "../.."

// source is one Go file of the module.
type source struct {
	path string // relative to the root
	set  *token.FileSet
	tree *ast.File
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// dir returns the package's path relative to the root; the root itself is ".".
func (s source) dir() string { return path.Dir(s.path) }

// in reports whether the file is in one of the directories or below.
func (s source) in(dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(s.dir(), dir) })
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// at returns a violation with its file and line.
func (s source) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.set.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

// imports returns the imports of the module's packages, by path as returned by dir.
func (s source) imports() map[string]*ast.ImportSpec {
	found := map[string]*ast.ImportSpec{}
	for _, spec := range s.tree.Imports {
		target, _ := strconv.Unquote(spec.Path.Value)
		if pkg, ours := strings.CutPrefix(target, "processor/"); ours {
			found[pkg] = spec
		}
	}
	return found
}

// files lists the paths with the suffix, without hidden directories and node_modules.
func files(t *testing.T, tree fs.FS, suffix string) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (entry.Name()[0] == '.' || entry.Name() == "node_modules"):
			return fs.SkipDir
		case !entry.IsDir() && strings.HasSuffix(name, suffix):
			found = append(found, name)
		}
		return nil
	})
	require.NoError(t, err)
	return found
}

// sources parses every Go file, regardless of build constraints.
func sources(t *testing.T, tree fs.FS) []source {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	for _, name := range files(t, tree, ".go") {
		content, err := fs.ReadFile(tree, name)
		require.NoError(t, err)
		s := source{path: name, set: set}
		s.tree, err = parser.ParseFile(s.set, name, content, parser.SkipObjectResolution|parser.ParseComments)
		require.NoError(t, err)
		all = append(all, s)
	}
	return all
}

// literal returns the text of a string literal, and "" for other literals.
func literal(lit *ast.BasicLit) string {
	if lit.Kind != token.STRING {
		return ""
	}
	text, _ := strconv.Unquote(lit.Value)
	return text
}

// callee returns receiver and name of a call: time.Sleep(…) is "time", "Sleep", and r.t.Skip(…) is "t",
// "Skip".
func callee(call *ast.CallExpr) (on, name string) {
	selector, is := call.Fun.(*ast.SelectorExpr)
	if !is {
		return "", ""
	}
	switch x := selector.X.(type) {
	case *ast.Ident:
		on = x.Name
	case *ast.SelectorExpr:
		on = x.Sel.Name
	}
	return on, selector.Sel.Name
}

// calls visits each call of a method, or of another package's function.
func calls(s source, visit func(call *ast.CallExpr, on, name string)) {
	ast.Inspect(s.tree, func(n ast.Node) bool {
		if call, is := n.(*ast.CallExpr); is {
			if on, name := callee(call); name != "" {
				visit(call, on, name)
			}
		}
		return true
	})
}
