package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan/internal/testca"
)

// block is one fenced block of a page, or a hidden command that a page needs
// done first: <!-- first: ... -->.
var block = regexp.MustCompile("(?m)^<!-- first: (.*) -->$|(?s:^```(sh|yaml file=\\S+)\n(.*?)^```$)")

// TestDocs runs every command of every page under docs/ as it is printed, with
// the paths moved into a temporary directory and Pebble in place of Let's
// Encrypt and its staging CA.
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := block.FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 || filepath.Base(page) == "add-a-plugin.md" { // that one is for who changes the code
			continue
		}
		ran++
		t.Run(filepath.Base(page), func(t *testing.T) { runPage(t, blocks) })
	}
	if ran < 6 {
		t.Errorf("only %d pages had commands", ran)
	}
}

func runPage(t *testing.T, blocks [][]string) {
	t.Parallel()
	r := newRig(t, testca.Options{})
	dir := filepath.Dir(r.data)
	config := filepath.Join(dir, "inkan.yaml")
	cas := fmt.Sprintf("cas:\n  letsencrypt: {directory: %q, roots: %q}\n  letsencrypt-staging: {directory: %q, roots: %q, staging: true}\n",
		r.ca.DirectoryURL, r.root, r.ca.DirectoryURL, r.root)
	write(t, config, cas, 0o644)
	wrapper := fmt.Sprintf("#!/bin/sh\nexec %s --data %s --config %s \"$@\"\n", binary, r.data, config)
	write(t, filepath.Join(dir, "bin/inkan"), wrapper, 0o755)
	here := strings.NewReplacer("/var/www/html", r.webroot, "/etc/ssl/inkan", filepath.Join(dir, "ssl"), "/tmp/own", filepath.Join(dir, "own"),
		"systemctl reload nginx", "true", "[systemctl, reload, nginx]", `["true"]`)
	for _, b := range blocks {
		if strings.HasPrefix(b[2], "yaml") {
			write(t, config, here.Replace(b[3])+cas, 0o644)
			continue
		}
		script := here.Replace(b[1] + b[3])
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s\n%s", err, script, out)
			return
		}
		noSecrets(t, out)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
