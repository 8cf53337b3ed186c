package cli

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/inkan-acme/inkan/plugins"
)

var update = flag.Bool("update", false, "write docs/reference anew")

func testApp() *app { return newApp(plugins.All(), nil, nil, nil, nil, nil) }

// The reference pages are what the program says of itself; a change of a
// command, an option or a key is a change of a page.
func TestReferencePages(t *testing.T) {
	a := testApp()
	pages := a.referencePages(a.rootCommand())
	dir := filepath.Join("..", "docs", "reference")
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range pages {
		path := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v (go test ./cli -run TestReferencePages -update)", err)
			continue
		}
		if diff := cmp.Diff(string(got), string(want)); diff != "" {
			t.Errorf("docs/reference/%s is not current (go test ./cli -run TestReferencePages -update):\n%s", name, diff)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if pages[f.Name()] == nil {
			t.Errorf("docs/reference/%s is made by nothing", f.Name())
		}
	}
}

// Every command says what it does, in the manner of the others, and has a man
// page that names all its flags.
func TestEveryCommandIsDescribed(t *testing.T) {
	root := testApp().rootCommand()
	pages := manPages(root)
	for _, c := range commands(root) {
		if strings.HasSuffix(c.Short, ".") || len(c.Short) > 90 || c.Short == "" {
			t.Errorf("%s: the short help %q", c.CommandPath(), c.Short)
		}
		for line := range strings.SplitSeq(c.Long, "\n") {
			if len(line) > 80 {
				t.Errorf("%s: a line of the help has %d columns: %s", c.CommandPath(), len(line), line)
			}
		}
		page := string(pages[strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"])
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") || strings.ToLower(f.Usage[:1]) != f.Usage[:1] {
				t.Errorf("%s --%s: the help %q", c.CommandPath(), f.Name, f.Usage)
			}
			if f.Name != "help" && !strings.Contains(page, roff("--"+f.Name)) {
				t.Errorf("the man page of %s does not name --%s", c.CommandPath(), f.Name)
			}
		})
		for line := range strings.SplitSeq(page, "\n") {
			macros := []string{".TH", ".SH", ".B", ".BR", ".TP", ".PP", ".nf", ".fi"}
			if word, _, _ := strings.Cut(line, " "); strings.HasPrefix(line, ".") && !slices.Contains(macros, word) {
				t.Errorf("the man page of %s has the line %q", c.CommandPath(), line)
			}
		}
	}
}
