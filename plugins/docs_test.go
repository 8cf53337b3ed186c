package plugins_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAddAPluginPage does what docs/add-a-plugin.md says: its files are laid over
// the repository, and the suite of its kind passes them.
func TestAddAPluginPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "add-a-plugin.md"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir, replaced := t.TempDir(), map[string]string{}
	lay := func(path, text string) {
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		replaced[filepath.Join(root, path)] = file
	}
	for _, block := range regexp.MustCompile("(?s)`([a-z/_]+\\.go)`[^`]*```go\n(package .*?)```").FindAllStringSubmatch(string(page), -1) {
		lay(block[1], block[2])
	}
	if len(replaced) != 2 {
		t.Fatalf("the page has %d files", len(replaced))
	}
	line := regexp.MustCompile("```go\n\t(plug\\.Add\\([^\n]*)").FindStringSubmatch(string(page))
	table, err := os.ReadFile("plugins.go")
	if err != nil {
		t.Fatal(err)
	}
	const before = "\tplug.Add(&s.Deployers, "
	if line == nil || !strings.Contains(string(table), before) {
		t.Fatal("the page or the table has no line for a deployer")
	}
	lay("plugins/plugins.go", strings.Replace(string(table), before, "\t"+line[1]+"\n"+before, 1))
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	lay("overlay.json", string(overlay))
	cmd := exec.Command("go", "test", "-overlay", filepath.Join(dir, "overlay.json"), "-v", "-run", "PEM|Described", "./deploy", "./plugins")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPEMConformance") {
		t.Errorf("%v: %v\n%s", cmd.Args, err, out)
	}
}
