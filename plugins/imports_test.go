package plugins_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/inkan-acme/inkan"

// layers are the packages of the module from the top of the house to its
// bottom (design law 8). A package may import those of lower layers only; what
// shares a layer does not know each other. A package that is missing here is a
// mistake, so that each new one gets its place on purpose.
var layers = [][]string{
	{"cmd", "bench", "examples", "scripts"},
	{"cli"},
	{"machine"},
	{"config", "web", "compat", "migrate", "check", "doctor", "plugins"},
	{"engine", "serve", "acme", "solve", "dns", "store", "seal", "deploy", "notify", "aws", "process"},
	{"plug"},
	{"."},
}

// knowsState may import internal/state: programs of others get what they need of
// it from the engine.
var knowsState = []string{"engine", "serve", "machine", "bench"}

// neighbours may import each other although they share a layer: the programs.
var neighbours = []string{"cmd", "bench", "examples", "scripts"}

// pkg is what `go list -json` tells of a package.
type pkg struct {
	ImportPath string
	Name       string
	Dir        string
	Standard   bool
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// packages lists the packages of the module, as they are built without tests.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Standard,GoFiles,Imports,Deps", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// place returns a package's path within the module, its first element ("." for
// the root), and whether it is one of the module's.
func place(importPath string) (path, top string, ours bool) {
	if importPath == module {
		return ".", ".", true
	}
	path, ours = strings.CutPrefix(importPath, module+"/")
	top, _, _ = strings.Cut(path, "/")
	return path, top, ours
}

func layerOf(top string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, top) })
}

// isTestHelp reports whether a package is there for tests only.
func isTestHelp(path, top string) bool {
	return top == "plugtest" || path == "internal/testca" || path == "internal/testaws" || path == "internal/testkit" || path == "internal/testsign" || path == "internal/testdns" || path == "internal/failpoint"
}

func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func TestImportDirections(t *testing.T) {
	for _, p := range packages(t) {
		path, top, _ := place(p.ImportPath)
		for _, imp := range p.Imports {
			if problem := refused(path, top, imp); problem != "" {
				t.Errorf("%s imports %s: %s", path, imp, problem)
			}
		}
		if top != "internal" && top != "plugtest" && layerOf(top) < 0 {
			t.Errorf("%s has no place in the layers", path)
		}
	}
}

// decides are the files that decide and do nothing else (design law 9): they get
// what was observed and an instant.
var decides = []string{"plan", "renewal", "retry", "fallback", "status"}

// TestDecisionsArePure: what decides cannot wait for anything, and reads neither
// a Store nor a clock.
func TestDecisionsArePure(t *testing.T) {
	for _, name := range decides {
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, filepath.Join("..", "engine", name+".go"), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			switch path := strings.Trim(imp.Path.Value, `"`); {
			case path == "context", path == "os", strings.HasPrefix(path, "net"), path == module+"/internal/state":
				t.Errorf("engine/%s.go decides, and imports %s", name, path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After"}, s.Sel.Name) {
					t.Errorf("%s: it reads the clock with time.%s", files.Position(s.Pos()), s.Sel.Name)
				}
			}
			return true
		})
	}
}

// refused says why a package may not import another, or "".
func refused(path, top, imp string) string {
	toPath, toTop, ours := place(imp)
	if !ours {
		switch {
		case (strings.HasPrefix(imp, "github.com/aws/") || imp == "github.com/aws") && top != "aws":
			return "only aws/ imports an AWS SDK"
		case isStandard(imp), strings.HasPrefix(imp, "golang.org/x/"):
			return ""
		case top == ".":
			return "the root imports only the standard library and golang.org/x"
		case top == "plug":
			return "plug imports only the standard library, golang.org/x and the root"
		}
		return ""
	}
	from, to := layerOf(top), layerOf(toTop)
	switch {
	case slices.Contains([]string{"cmd", "bench"}, top) && isTestHelp(toPath, toTop):
		return "" // the demo and the bench start a CA of their own
	case isTestHelp(path, top):
		return "" // tests may import anything
	case isTestHelp(toPath, toTop):
		return "it is there for tests"
	case toPath == "internal/state" && !slices.Contains(knowsState, top):
		return "only the engine and who stands beside it know how records are kept"
	case slices.Contains([]string{"engine", "serve"}, top) && toTop != "." && toTop != "internal":
		return "the engine knows contracts and records, no plug-in"
	case toTop == "internal":
		return ""
	case top == "internal":
		if toTop == "." {
			return "" // the contracts
		}
		return "internal packages stand below everything but the contracts"
	case top == toTop && (top == "." || slices.Contains(neighbours, top)):
		return ""
	case from < 0 || to < 0:
		return "one of them has no place in the layers"
	case from == to:
		return "packages of one layer do not know each other"
	case from > to:
		return "imports point downwards only"
	}
	return ""
}

// The root is a library that others embed: whatever it reaches, through
// internal packages too, is the standard library, golang.org/x or our own.
func TestRootReachesOnlyX(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != module {
			continue
		}
		for _, dep := range p.Deps {
			path, top, ours := place(dep)
			switch {
			case isStandard(dep), strings.HasPrefix(dep, "golang.org/x/"), strings.HasPrefix(dep, "vendor/golang.org/x/"):
			case ours && top == "internal" && !isTestHelp(path, top):
			default:
				t.Errorf("the root reaches %s", dep)
			}
		}
	}
}

// The rules themselves are tested, because a rule that never fires looks like
// one that holds.
func TestRulesRefuse(t *testing.T) {
	for _, c := range []struct {
		path, imp string
		ok        bool
	}{
		{"cmd/inkan", module + "/config", true},
		{"plugins", module + "/deploy", true},
		{"cmd/inkan", module + "/cli", true},
		{"cli", module + "/machine", true},
		{"machine", module + "/config", true},
		{"engine", module + "/internal/state", true},
		{"serve", module + "/internal/state", true},
		{"deploy", module + "/internal/durable", true},
		{"deploy", module + "/plug", true},
		{"plug", module, true},
		{"aws/s3", "github.com/aws/aws-sdk-go-v2/service/s3", true},
		{"plugtest/deploytest", module + "/deploy", true},
		{"cmd/inkan-demo", module + "/internal/testca", true},
		{".", "golang.org/x/net/idna", true},
		{"deploy", module + "/store", false},
		{"serve", module + "/engine", false},
		{"machine", module + "/cli", false},
		{"config", module + "/machine", false},
		{"engine", module + "/acme", false},
		{"engine", module + "/plug", false},
		{"store", module + "/internal/state", false},
		{"config", module + "/internal/state", false},
		{"store", module + "/store/more", false},
		{"plug", module + "/deploy", false},
		{"plug", "github.com/goccy/go-yaml", false},
		{".", module + "/plug", false},
		{".", "github.com/go-jose/go-jose/v4", false},
		{"store", "github.com/aws/aws-sdk-go-v2/service/s3", false},
		{"config", module + "/plugins", false},
		{"internal/durable", module + "/plug", false},
		{"acme", module + "/internal/testca", false},
		{"newcomer", module + "/plug", false},
	} {
		top, _, _ := strings.Cut(c.path, "/")
		if problem := refused(c.path, top, c.imp); (problem == "") != c.ok {
			t.Errorf("%s imports %s: %q", c.path, c.imp, problem)
		}
	}
}

// TestNoHiddenState holds law 12: no init, and no package-level variable that
// anybody could change. Programs are excepted from the second, whose variables
// are nobody else's, and so is what serves tests.
func TestNoHiddenState(t *testing.T) {
	for _, p := range packages(t) {
		path, top, _ := place(p.ImportPath)
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		for _, problem := range hiddenState(fset, files, p.Name == "main" || isTestHelp(path, top)) {
			t.Errorf("%s: %s", path, problem)
		}
	}
}

// hiddenState returns what law 12 forbids in one package; own says that its
// variables are its own business.
func hiddenState(fset *token.FileSet, files []*ast.File, own bool) (problems []string) {
	add := func(n ast.Node, text string) {
		pos := fset.Position(n.Pos())
		pos.Filename = filepath.Base(pos.Filename)
		problems = append(problems, pos.String()+": "+text)
	}
	vars := map[string]*ast.ValueSpec{}
	for _, f := range files {
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					add(d, "an init function; name it and call it")
				}
			case *ast.GenDecl:
				if d.Tok != token.VAR || own {
					continue
				}
				for _, spec := range d.Specs {
					v := spec.(*ast.ValueSpec)
					if embeds(d, v) {
						continue
					}
					for i, name := range v.Names {
						if name.Name == "_" {
							continue // says that a type implements an interface
						}
						vars[name.Name] = v
						if problem := mutable(name, v, i); problem != "" {
							add(name, "the variable "+name.Name+" "+problem)
						}
					}
				}
			}
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			for _, target := range written(n) {
				if id := rootOf(target); id != nil && vars[id.Name] != nil && (id.Obj == nil || id.Obj.Decl == vars[id.Name]) {
					add(id, "the package-level variable "+id.Name+" is changed")
				}
			}
			return true
		})
	}
	return problems
}

// mutable says why a package-level variable is state by its very declaration.
// What is left are tables, compiled patterns and errors, and those must not be
// written to.
func mutable(name *ast.Ident, v *ast.ValueSpec, i int) string {
	if i >= len(v.Values) {
		return "has no value yet, so somebody is to change it"
	}
	isError := strings.HasPrefix(name.Name, "Err") || strings.HasPrefix(name.Name, "err")
	if name.IsExported() && !isError {
		return "is exported, so that everybody could change it"
	}
	if s, ok := v.Type.(*ast.SelectorExpr); ok {
		if p, ok := s.X.(*ast.Ident); ok && (p.Name == "sync" || p.Name == "atomic") {
			return "is there to be changed"
		}
	}
	switch value := v.Values[i].(type) {
	case *ast.UnaryExpr:
		if value.Op == token.AND {
			return "is a pointer"
		}
	case *ast.CompositeLit:
		if s, ok := value.Type.(*ast.SelectorExpr); ok {
			if p, ok := s.X.(*ast.Ident); ok && (p.Name == "sync" || p.Name == "atomic") {
				return "is there to be changed"
			}
		}
	case *ast.CallExpr:
		if f, ok := value.Fun.(*ast.Ident); ok && (f.Name == "make" || f.Name == "new") {
			return "is made empty, so somebody is to fill it"
		}
	}
	return ""
}

// embeds reports whether a variable is filled by the compiler: //go:embed.
func embeds(d *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{d.Doc, v.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// written returns the expressions that a node changes or lets others change.
func written(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"delete", "clear", "copy"}, f.Name) && len(n.Args) > 0 {
			return n.Args[:1]
		}
	}
	return nil
}

// rootOf returns the variable at the root of x.y[i].z.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func TestHiddenStateIsFound(t *testing.T) {
	const good = `package p
import ("errors"; "regexp"; "embed")
var ErrGone = errors.New("gone")
var pattern = regexp.MustCompile("x")
var table = map[string]int{"a": 1}
var _ error = ErrGone
//go:embed *.txt
var files embed.FS
func f() int { table := table; table["b"] = 2; x := &table; _ = x; return table["a"] }
`
	bad := map[string]string{
		"an init function":       `func init() {}`,
		"has no value yet":       `var cache map[string]int`,
		"is made empty":          `var cache = make(map[string]int)`,
		"is a pointer":           `var conf = &struct{}{}`,
		"is there to be changed": `var mu = sync.Mutex{}`,
		"is exported":            `var Default = map[string]int{}`,
		"table is changed":       "var table = map[string]int{}\nfunc f() { table[\"a\"]++ }",
		"list is changed":        "var list = []int{1}\nfunc f() { list = append(list, 2) }",
		"arr is changed":         "var arr = [2]int{}\nfunc f() *int { return &arr[0] }",
		"set is changed":         "var set = map[int]int{}\nfunc f() { delete(set, 1) }",
	}
	scan := func(src string) []string {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "p.go", src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		return hiddenState(fset, []*ast.File{f}, false)
	}
	if problems := scan(good); len(problems) > 0 {
		t.Error(problems)
	}
	for want, src := range bad {
		if problems := scan("package p\n" + src); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("%s: %q, want %q", src, problems, want)
		}
	}
}
