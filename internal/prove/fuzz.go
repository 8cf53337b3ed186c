package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fuzzRecord is the file of the fuzzing part in the directory of records.
const fuzzRecord = "fuzz.json"

// fuzzing is the record of the fuzzing part. It is saved after every slice, so
// that a run that was ended goes on where it was.
type fuzzing struct {
	facts
	Goal    float64 // seconds of CPU for each target
	Targets []*target
}

// target is one fuzz function and what became of it.
type target struct {
	Package string  // import path
	Dir     string  // its directory in the checkout
	Name    string  // FuzzX
	Code    string  // of what it tries
	Commit  string  // where it was tried last
	CPU     float64 // seconds really used: user and system time of the fuzzing processes
	Execs   int64   // inputs tried
	Corpus  int     // inputs that reach something new, the committed ones included
	Failed  string  // what was found: the input's file in testdata/fuzz, or go's last words
	Date    time.Time

	outdated bool // its code is not that of the checkout
}

func (t *target) done(goal float64) bool { return t.Failed == "" && t.CPU >= goal }

// slice is how long a target runs before its record is saved, as wall time.
const slice = 2 * time.Minute

// runFuzz fuzzes every target until each has used goal of CPU time, however
// long that takes on a busy machine. What an earlier run did is taken over for
// targets whose own code is still the same. An input that fails is kept by Go in the
// package's testdata/fuzz; committed there it is tried by every go test.
func runFuzz(ctx context.Context, dir string, goal time.Duration) error {
	about, err := here("long")
	if err != nil {
		return err
	}
	targets, err := findTargets(ctx)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, fuzzRecord)
	var f, old fuzzing
	if err := load(file, &old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f = fuzzing{facts: about, Goal: goal.Seconds(), Targets: targets}
	if f.resume(old.Targets) {
		f.Seconds, f.Date = old.Seconds, old.Date
	}
	if err := save(file, f); err != nil {
		return err
	}
	fmt.Printf("== fuzzing, %d targets, %s of CPU each, commit %s\n", len(targets), goal, about.Commit)
	bin, err := os.MkdirTemp(dir, "fuzz-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	failed := 0
	for _, t := range f.Targets {
		binary := filepath.Join(bin, t.Name)
		for !t.done(f.Goal) {
			began := time.Now()
			if err := t.step(ctx, binary, filepath.Join(dir, "corpus"), f.Goal); err != nil {
				return err
			}
			t.Commit = about.Commit
			f.Seconds += time.Since(began).Seconds()
			if err := save(file, f); err != nil {
				return err
			}
			if t.Failed != "" {
				failed++
				break
			}
		}
		os.Remove(binary)
		fmt.Printf("-- %s %s: %s, %.0f s of CPU, %d inputs, %d in the corpus\n", t.Dir, t.Name, t.result(f.Goal), t.CPU, t.Execs, t.Corpus)
	}
	if failed > 0 {
		return fmt.Errorf("%d targets failed; the inputs lie in testdata/fuzz", failed)
	}
	return nil
}

// resume takes over what an earlier run on the same code did, and reports
// whether there was anything.
func (f *fuzzing) resume(earlier []*target) (any bool) {
	for _, t := range f.Targets {
		i := slices.IndexFunc(earlier, func(o *target) bool { return o.Package == t.Package && o.Name == t.Name && o.Code == t.Code })
		if i >= 0 && earlier[i].Failed == "" {
			*t = *earlier[i]
			any = true
		}
	}
	return any
}

// result says in words how far a target came.
func (t *target) result(goal float64) string {
	switch {
	case t.Failed != "":
		return "FAILS: " + t.Failed
	case t.outdated && t.CPU > 0:
		return "nothing found, in other code"
	case t.CPU == 0:
		return "not run"
	case t.CPU < goal:
		return "nothing found, unfinished"
	}
	return "nothing found"
}

// step fuzzes for one slice and adds what it used. The package's test binary
// is built with coverage as go test -fuzz builds it, and run by us: then the
// CPU time is that of fuzzing alone, without the compiler.
func (t *target) step(ctx context.Context, binary, corpus string, goal float64) error {
	if _, err := os.Stat(binary); err != nil {
		cmd := command(ctx, "go", "test", "-c", "-fuzz=^"+t.Name+"$", "-o", binary, t.Package)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", t.Package, err, out)
		}
	}
	cache := filepath.Join(corpus, t.Dir)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	// All processors at full speed need this long; when others share them, the
	// next slice makes up for it.
	left := time.Duration((goal - t.CPU) / float64(runtime.NumCPU()) * float64(time.Second)).Round(time.Second)
	var out bytes.Buffer
	cmd := command(ctx, binary, "-test.run=^$", "-test.fuzz=^"+t.Name+"$", "-test.fuzzcachedir="+cache,
		// Making inputs smaller costs up to a minute each if it may.
		"-test.fuzzminimizetime=1000x", "-test.fuzztime="+min(slice, left+time.Second).String())
	cmd.Dir = t.Dir
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	used := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	t.CPU += used
	t.Date = time.Now().UTC()
	execs, total := fuzzFigures(out.String())
	t.Execs += execs
	t.Corpus = max(t.Corpus, total)
	switch {
	case err != nil && !outOfTime(out.String()):
		t.Failed = fuzzFailure(out.String())
		io.Copy(os.Stderr, &out)
	case used == 0:
		return fmt.Errorf("%s used no CPU time:\n%s", t.Name, out.String())
	}
	return nil
}

// progressLine is what go test -fuzz prints every three seconds.
var progressLine = regexp.MustCompile(`execs: (\d+) .*\(total: (\d+)\)`)

// fuzzFigures reads how many inputs were tried and how many are interesting.
func fuzzFigures(out string) (execs int64, total int) {
	for _, m := range progressLine.FindAllStringSubmatch(out, -1) {
		execs, _ = strconv.ParseInt(m[1], 10, 64)
		total, _ = strconv.Atoi(m[2])
	}
	return execs, total
}

var failingInput = regexp.MustCompile(`Failing input written to (\S+)`)

// fuzzFailure says where the failing input is, or what go said last.
func fuzzFailure(out string) string {
	if m := failingInput.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// outOfTime reports whether a run failed only because its time was up in the
// middle of an input (golang.org/issue/75804). A target that got nowhere in its
// time hangs, and that is a finding.
func outOfTime(out string) bool {
	execs, _ := fuzzFigures(out)
	return execs > 0 && bareDeadline.MatchString(out) && !failingInput.MatchString(out)
}

var bareDeadline = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \([0-9.]+s\)\n    context deadline exceeded\nFAIL\n`)

// fuzzFunc is how go test knows fuzz functions.
var fuzzFunc = regexp.MustCompile(`^Fuzz([^a-z]|$)`)

// findTargets lists the fuzz functions of the module, by package and name.
func findTargets(ctx context.Context) ([]*target, error) {
	tree, err := readTree(ctx)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	var targets []*target
	for _, p := range tree.own {
		dir, err := filepath.Rel(root, p.Dir)
		if err != nil {
			return nil, err
		}
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			for _, d := range source.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && fuzzFunc.MatchString(f.Name.Name) {
					t := &target{Package: p.ImportPath, Dir: dir, Name: f.Name.Name}
					if t.Code, err = tree.code(p, file, source.Imports); err != nil {
						return nil, err
					}
					targets = append(targets, t)
				}
			}
		}
	}
	slices.SortFunc(targets, func(a, b *target) int { return strings.Compare(a.Dir+" "+a.Name, b.Dir+" "+b.Name) })
	return targets, nil
}
