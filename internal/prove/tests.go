package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Files of the tests' part in the directory of records.
const (
	testsRecord = "tests.json"  // what go test -json said
	testsFacts  = "tests.facts" // of which code, when
)

// runTests runs every test of the module, package after package so that each
// has the machine to itself, and keeps the record. Tests that fail are in the
// record, and an error besides.
func runTests(ctx context.Context, dir, form string) error {
	about, err := here(form)
	if err != nil {
		return err
	}
	fmt.Printf("== tests, %s form, commit %s\n", form, about.Commit)
	file, err := os.Create(filepath.Join(dir, testsRecord+".new"))
	if err != nil {
		return err
	}
	defer file.Close()
	cmd := command(ctx, "go", "test", "-count=1", "-p=1", "-timeout=5h", "-json", "./...")
	cmd.Env = os.Environ()
	if form == "long" {
		cmd.Env = append(cmd.Env, "INKAN_LONG=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := progress(io.TeeReader(out, file))
	testErr := cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx) // half a record is none
	}
	if readErr != nil {
		return readErr
	}
	about.Seconds = time.Since(about.Date).Seconds()
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(dir, testsRecord)); err != nil {
		return err
	}
	if err := save(filepath.Join(dir, testsFacts), about); err != nil {
		return err
	}
	if testErr != nil {
		return fmt.Errorf("some failed; the page says which, %s why", filepath.Join(dir, testsRecord))
	}
	return nil
}

// progress tells of each package that ended, and reads everything.
func progress(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			switch {
			case e.Action == "fail" && e.Test != "":
				fmt.Printf("-- FAILS %s %s\n", e.Package, e.Test)
			case (e.Action == "pass" || e.Action == "fail") && e.Package != "":
				if e.Test == "" {
					fmt.Printf("-- %s %s, %.0f s\n", e.Action, e.Package, e.Elapsed)
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
