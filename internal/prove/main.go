// Command prove turns the record of a test run into docs/proof.md: one row for
// each case of the fault catalogue with what was run, how often, and the
// result. It invents nothing: a case that no test names is listed as not run.
//
//	INKAN_LONG=1 go test -json ./... | go run ./internal/prove -o docs/proof.md
//
// scripts/prove does this and the fuzzing.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

func main() {
	out := flag.String("o", "", "write the page to `FILE` (default: standard output)")
	fuzz := flag.String("fuzz", "", "`FILE` with lines of fuzzing results: target, seconds of CPU, result")
	form := flag.String("form", "long", "which `FORM` of the tests was run: quick or long")
	flag.Parse()
	if err := run(os.Stdin, *out, *fuzz, *form); err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out, fuzz, form string) error {
	cases, err := readCases()
	if err != nil {
		return err
	}
	record, err := readRecord(in)
	if err != nil {
		return err
	}
	var fuzzed []byte
	if fuzz != "" {
		if fuzzed, err = os.ReadFile(fuzz); err != nil {
			return err
		}
	}
	page := render(cases, record, string(fuzzed), facts{Commit: commit(), Date: time.Now().UTC(), Form: form,
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())})
	if out == "" {
		_, err = os.Stdout.WriteString(page)
	} else {
		err = os.WriteFile(out, []byte(page), 0o644)
	}
	if err == nil && record.failed() > 0 {
		err = fmt.Errorf("%d tests failed", record.failed())
	}
	return err
}

// commit names what was tested; changes that are not committed are said.
func commit() string {
	rev, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	id := strings.TrimSpace(string(rev))
	if status, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ":!docs/proof.md").Output(); err != nil || len(status) > 0 {
		id += " with uncommitted changes"
	}
	return id
}
