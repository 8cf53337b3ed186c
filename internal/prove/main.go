// Command prove runs the long form of every test and all fuzzing, and writes
// docs/proof.md from the records of these runs: one row for each case of the
// fault catalogue with what was run, how often, and the result. It invents
// nothing: a case that no test names is listed as not run.
//
//	./scripts/prove [quick] [tests | fuzz | page]
//
// The three parts may run at different hours. Their records lie in PROVE_DIR
// (default .prove in the checkout) with commit and date; the page says which
// code each part is of. A part of other code is marked, never passed off.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const usage = "usage: prove [quick] [tests | fuzz | page]"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

// run does what the command line asks for; env reads the environment.
func run(ctx context.Context, args []string, env func(string) string) error {
	form := "long"
	if len(args) > 0 && args[0] == "quick" {
		form, args = "quick", args[1:]
	}
	parts := []string{"tests", "fuzz", "page"}
	switch {
	case len(args) == 1 && slices.Contains(parts, args[0]):
		parts = args
	case len(args) != 0:
		return fmt.Errorf("%q: %s", args, usage)
	case form == "quick":
		parts = []string{"tests", "page"}
	}
	dir := env("PROVE_DIR")
	if dir == "" {
		dir = ".prove"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	goal := 600 * time.Second
	if s := env("FUZZ_CPU"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("FUZZ_CPU is %q, not a number of seconds", s)
		}
		goal = time.Duration(n) * time.Second
	}
	var failed []string
	for _, part := range parts {
		switch part {
		case "tests":
			err = runTests(ctx, dir, form)
		case "fuzz":
			err = runFuzz(ctx, dir, goal)
		case "page":
			err = writePage(ctx, dir, filepath.Join("docs", "proof.md"))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			failed = append(failed, part+": "+err.Error())
		}
	}
	if failed != nil {
		return fmt.Errorf("%s", strings.Join(failed, "; "))
	}
	return nil
}

// command starts a program that ends with ctx and may clean up behind itself,
// and so do those that it starts: go test does not end the tests that it runs.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGINT) }
	c.WaitDelay = 30 * time.Second
	return c
}
