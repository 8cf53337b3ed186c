package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestParts runs the three parts one by one on a small module of its own, ends
// with a page, and finds that a commit makes the records those of other code.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) { writeFile(t, name, text) }
	command := func(args ...string) {
		t.Helper()
		c := exec.Command(args[0], args[1:]...)
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	commit := func() {
		t.Helper()
		command("git", "add", ".")
		command("git", "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x")
	}
	write("go.mod", "module example.com/x\n\ngo 1.26\n")
	write(".gitignore", "/.prove/\n")
	write("docs/README", "x")
	write("a/a_test.go", `package a

import (
	"os"
	"testing"
)

func TestA01Good(t *testing.T) { t.Logf("proof: long is %q", os.Getenv("INKAN_LONG")) }
func TestB01Bad(t *testing.T)  { t.Error("bad") }
func FuzzGood(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {})
}
func FuzzBad(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2 {
			t.Error("long")
		}
	})
}
`)
	command("git", "init", "-q")
	commit()
	env := func(name string) string { return map[string]string{"FUZZ_CPU": "1"}[name] }
	page := func() string {
		t.Helper()
		err := run(t.Context(), []string{"page"}, env)
		if err == nil || !strings.Contains(err.Error(), "1 tests failed") {
			t.Fatalf("page: %v", err)
		}
		text, err := os.ReadFile("docs/proof.md")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := run(t.Context(), []string{"page"}, env); err == nil {
		t.Error("a page is made from nothing")
	}
	if err := run(t.Context(), []string{"tests"}, env); err == nil {
		t.Error("a test failed, and nobody says so")
	}
	if err := run(t.Context(), []string{"fuzz"}, env); err == nil || !strings.Contains(err.Error(), "1 targets failed") {
		t.Errorf("fuzz: %v", err)
	}
	text := page()
	for _, want := range []string{"TestA01Good | holds<br>long is \"1\" |", "TestB01Bad | FAILS |", "| 3 passed, 1 failed, 0 skipped |", "| a | FuzzGood | ", "FAILS: testdata/fuzz/FuzzBad/"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "different code") || strings.Contains(text, "uncommitted") {
		t.Errorf("the parts are of one commit:\n%s", text)
	}
	if left, err := filepath.Glob("a/testdata/fuzz/FuzzBad/*"); err != nil || len(left) != 1 {
		t.Errorf("the failing input is not kept: %v, %v", left, err)
	}
	commit() // the page alone is no other code, but the input is
	if text := page(); !strings.Contains(text, "different code") {
		t.Errorf("records of the commit before are passed off:\n%s", text)
	}
	for _, args := range [][]string{{"nothing"}, {"tests", "fuzz"}, {"long"}} {
		if err := run(t.Context(), args, env); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	if err := run(t.Context(), []string{"fuzz"}, func(name string) string { return "ten" }); err == nil {
		t.Error("FUZZ_CPU=ten is taken")
	}
}

// writeFile writes a file and the directories above it.
func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
