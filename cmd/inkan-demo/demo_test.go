package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// build compiles the demo and the inkan command.
func build(t *testing.T) (demo, inkan string) {
	t.Helper()
	dir := t.TempDir()
	demo, inkan = filepath.Join(dir, "inkan-demo"), filepath.Join(dir, "inkan")
	for path, pkg := range map[string]string{demo: ".", inkan: "../inkan"} {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", pkg, err, out)
		}
	}
	return demo, inkan
}

// command runs the demo with a temporary directory of its own.
func command(ctx context.Context, tmp, demo string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, demo, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "NO_COLOR=")
	return cmd
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The story keeps what it promises: two certificates, one server process, in
// time, nothing left.
func TestDemo(t *testing.T) {
	demo, inkan := build(t)
	tmp := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	out, err := command(ctx, tmp, demo, "--inkan", inkan).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it took %v, more than 15 s", took)
	}
	text := string(out)
	t.Log("\n" + text)
	if strings.Contains(text, "\x1b") {
		t.Error("colour without a terminal")
	}
	find := func(pattern string) []string {
		var found []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		return found
	}
	serials := find(`(?m)^   certificate  ([0-9a-f]+), valid until`)
	if len(serials) != 2 || serials[0] == serials[1] {
		t.Errorf("serial numbers served: %v, want two that differ", serials)
	}
	if pids := find(`hello from process (\d+)`); len(pids) != 2 || pids[0] != pids[1] {
		t.Errorf("answering processes: %v, want the same twice", pids)
	}
	if came := find(`meanwhile    (\d+) visitors came, and none`); len(came) != 1 || came[0] == "0" {
		t.Errorf("visitors during the renewal: %v, want some", came)
	}
	want := []string{"issue", "list", "show", "renew", "renew"}
	if got := find(`(?m)^\$ inkan ([a-z]+)`); !slices.Equal(got, want) {
		t.Errorf("commands %v, want %v", got, want)
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "   ") && !strings.Contains(line, tmp) && utf8.RuneCountInString(line) > width {
			t.Errorf("a line of more than %d characters: %s", width, line)
		}
	}
	empty(t, tmp)
}

// With --keep all runs on until Ctrl-C, which leaves nothing.
func TestKeepAndInterrupt(t *testing.T) {
	demo, inkan := build(t)
	tmp := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := command(ctx, tmp, demo, "--keep", "--inkan", inkan)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(io.TeeReader(stdout, &said))
	for lines.Scan() && !strings.Contains(lines.Text(), "curl --cacert") {
	}
	dirs, err := filepath.Glob(filepath.Join(tmp, "inkan-*", "live", name, "privkey.pem"))
	if err != nil || len(dirs) != 1 {
		t.Errorf("the files do not stand there: %v, %v\n%s%s", dirs, err, &said, &stderr)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // to the end
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s%s", err, &said, &stderr)
	}
	empty(t, tmp)
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"a-b.c/d:8=@": "a-b.c/d:8=@",
		"":            "''",
		"it's $x":     `'it'\''s $x'`,
	} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
