package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// facts say where a part comes from.
type facts struct {
	Commit  string    // its short name, with a word if the tree differed from it
	Code    string    // hash of every file but the page: equal means the same code
	Form    string    // quick or long
	Machine string    // system, processors, Go
	Date    time.Time // when it began
	Seconds float64   // how long it ran
}

// here describes the checkout and the machine.
func here(form string) (facts, error) {
	f := facts{Form: form, Date: time.Now().UTC(),
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())}
	commit, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return f, err
	}
	tree, err := git("ls-tree", "-r", "--full-tree", "HEAD")
	if err != nil {
		return f, err
	}
	// Untracked files are changes too, but not inputs that fuzzing has just left.
	changes, err := git("status", "--porcelain", "--", ":!docs/proof.md", ":(exclude,glob)**/testdata/fuzz/**")
	if err != nil {
		return f, err
	}
	f.Commit = strings.TrimSpace(commit)
	f.Code = codeOf(tree, changes)
	if changes != "" {
		f.Commit += " with uncommitted changes"
	}
	return f, nil
}

// codeOf names the code of a tree: the page that is made from it is left out,
// so that committing the page changes nothing.
func codeOf(tree, changes string) string {
	h := sha256.New()
	for line := range strings.Lines(tree) {
		if !strings.HasSuffix(strings.TrimSpace(line), "\tdocs/proof.md") {
			h.Write([]byte(line))
		}
	}
	h.Write([]byte(changes))
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func git(args ...string) (string, error) {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return string(out), nil
}

// save writes v as JSON; a reader sees the old or the new file.
func save(file string, v any) error {
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// load reads what save wrote.
func load(file string, v any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}
