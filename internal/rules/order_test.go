package rules

import (
	"errors"
	"fmt"
	"go/ast"
	"go/types"
	"path"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// orderedPackages are read from the first file of their package comment to the last.
func orderedPackages() []string { return []string{"internal/store"} }

// smallPackages keep to maxLines, their tests too, and to maxBody and maxFields.
func smallPackages() []string { return []string{"internal/store", "internal/pipeline"} }

const (
	maxLines  = 250 // of a file
	maxBody   = 60  // lines of a function
	maxFields = 8   // of state: fields that are not exported, which are settings and wiring
)

// program is a package whose names are resolved. What it imports is not.
type program struct {
	files []source
	uses  map[*ast.Ident]types.Object
	defs  map[*ast.Ident]types.Object
	local *types.Package
}

type nothing struct{}

func (nothing) Import(string) (*types.Package, error) {
	return nil, errors.New("imports are not resolved")
}

// resolve resolves the names of a package, regardless of its imports.
func resolve(all []source, dir string) program {
	p := program{uses: map[*ast.Ident]types.Object{}, defs: map[*ast.Ident]types.Object{}}
	var trees []*ast.File
	for _, s := range all {
		if s.dir() != dir || s.test() {
			continue
		}
		p.files = append(p.files, s)
		trees = append(trees, s.tree)
	}
	if len(trees) == 0 {
		return p
	}
	config := types.Config{Importer: nothing{}, Error: func(error) {}}
	p.local, _ = config.Check(dir, p.files[0].set, trees, &types.Info{Uses: p.uses, Defs: p.defs})
	return p
}

// visit calls f for each use of a name of the package, with the file that defines it and the function that uses it.
func (p program) visit(f func(s source, within types.Object, id *ast.Ident, used types.Object)) {
	for _, s := range p.files {
		for _, decl := range s.tree.Decls {
			var within types.Object
			if function, is := decl.(*ast.FuncDecl); is {
				within = p.defs[function.Name]
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if id, is := n.(*ast.Ident); is && p.uses[id] != nil && p.uses[id].Pkg() == p.local {
					f(s, within, id, p.uses[id])
				}
				return true
			})
		}
	}
}

// definedIn returns the base name of the file that defines each object.
func (p program) definedIn() map[types.Object]string {
	in := map[types.Object]string{}
	for _, s := range p.files {
		ast.Inspect(s.tree, func(n ast.Node) bool {
			if id, is := n.(*ast.Ident); is && p.defs[id] != nil {
				in[p.defs[id]] = path.Base(s.path)
			}
			return true
		})
	}
	return in
}

// filesComeInOrder: a file uses only names of the files before it, in the order of the package comment.
func filesComeInOrder(all []source) (violations []string) {
	for _, dir := range orderedPackages() {
		p := resolve(all, dir)
		var order []string
		for _, s := range p.files {
			if s.tree.Doc != nil {
				order = regexp.MustCompile(`\w+\.go\b`).FindAllString(s.tree.Doc.Text(), -1)
			}
		}
		for _, s := range p.files {
			if !slices.Contains(order, path.Base(s.path)) {
				violations = append(violations, s.path+" is not in the package comment")
			}
		}
		in := p.definedIn()
		p.visit(func(s source, _ types.Object, id *ast.Ident, used types.Object) {
			if file := in[used]; slices.Index(order, file) > slices.Index(order, path.Base(s.path)) {
				violations = append(violations, s.at(id, "%s is in %s, a later file", id.Name, file))
			}
		})
	}
	return violations
}

// functionsCallDownwards: no two functions use each other, directly or over others.
func functionsCallDownwards(all []source) (violations []string) {
	for _, dir := range orderedPackages() {
		p := resolve(all, dir)
		uses := map[types.Object]map[types.Object]bool{}
		p.visit(func(_ source, within types.Object, _ *ast.Ident, used types.Object) {
			if _, is := used.(*types.Func); !is || within == nil || within == used {
				return
			}
			if uses[within] == nil {
				uses[within] = map[types.Object]bool{}
			}
			uses[within][used] = true
		})
		for f := range uses {
			seen := map[types.Object]bool{}
			for next := []types.Object{f}; len(next) > 0; {
				g := next[0]
				next = next[1:]
				for used := range uses[g] {
					if used == f {
						violations = append(violations, fmt.Sprintf("%s: %s and %s call each other", dir, f.Name(), g.Name()))
					}
					if !seen[used] {
						seen[used] = true
						next = append(next, used)
					}
				}
			}
		}
	}
	slices.Sort(violations)
	return violations
}

// piecesAreSmall: files, functions and structs fit on a screen or a few.
func piecesAreSmall(all []source) (violations []string) {
	for _, s := range all {
		if !slices.Contains(smallPackages(), s.dir()) {
			continue
		}
		if lines := s.set.File(s.tree.Package).LineCount(); lines > maxLines {
			violations = append(violations, fmt.Sprintf("%s has %d lines", s.path, lines))
		}
		if s.test() {
			continue // a table of cases is long
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines := s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1; lines > maxBody {
					violations = append(violations, s.at(n, "%s has %d lines", n.Name.Name, lines))
				}
			case *ast.TypeSpec:
				if structure, is := n.Type.(*ast.StructType); is && fields(structure) > maxFields {
					violations = append(violations, s.at(n, "%s has %d fields", n.Name.Name, fields(structure)))
				}
			}
			return true
		})
	}
	return violations
}

// fields counts the fields that hold state: an embedded type counts, an exported field does not.
func fields(s *ast.StructType) (n int) {
	for _, field := range s.Fields.List {
		if len(field.Names) == 0 {
			n++
		}
		for _, name := range field.Names {
			if !name.IsExported() {
				n++
			}
		}
	}
	return n
}

// A name that the package itself does not define is nobody's.
func TestResolve_KnowsTheNamesOfThePackage(t *testing.T) {
	p := resolve(sources(t, tree(map[string]string{
		"internal/store/a.go": "package store; import \"fmt\"\ntype T struct{ n int }\nfunc (t T) m() { fmt.Println(t.n) }",
		"internal/store/b.go": "package store; func f(t T) { t.m() }",
	})), "internal/store")
	var used []string
	p.visit(func(s source, _ types.Object, id *ast.Ident, _ types.Object) {
		used = append(used, path.Base(s.path)+" "+id.Name)
	})
	for _, name := range []string{"a.go T", "a.go n", "b.go T", "b.go m"} {
		require.Contains(t, used, name)
	}
}
