package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed cases.txt
var casesText string

// testCase is one row of the fault catalogue; reason says why no test names it.
type testCase struct{ id, fault, reason string }

func readCases() ([]testCase, error) {
	var cases []testCase
	for line := range strings.Lines(casesText) {
		id, fault, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			return nil, fmt.Errorf("cases.txt: %q is not a case", line)
		}
		fault, reason, _ := strings.Cut(fault, "\t")
		cases = append(cases, testCase{id, fault, reason})
	}
	return cases, nil
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// outcome is what became of one top-level test.
type outcome struct {
	test, pkg string
	result    string // "pass", "fail", "skip", "" when it did not end
	seconds   float64
	subtests  int
	notes     []string // lines that begin with "proof:"
	why       string   // of a skip
}

// record is a whole run.
type record struct {
	tests map[string]*outcome // by package and test
	order []string
}

func (r *record) failed() int {
	n := 0
	for _, o := range r.tests {
		if o.result != "pass" && o.result != "skip" {
			n++
		}
	}
	return n
}

// byCase sorts the tests by the cases that their names cite.
func (r *record) byCase() map[string][]*outcome {
	byCase := map[string][]*outcome{}
	for _, key := range r.order {
		for _, id := range casesOf(r.tests[key].test) {
			byCase[id] = append(byCase[id], r.tests[key])
		}
	}
	return byCase
}

// note finds what a test has to say for the page: t.Logf("proof: ..."), but not
// what a program that it ran says of a proof.
var note = regexp.MustCompile(`^ *\w+\.go:\d+: proof: (.*)`)

func readRecord(in io.Reader) (*record, error) {
	r := &record{tests: map[string]*outcome{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Test == "" {
			continue // build output, or a package's own line
		}
		top, sub, isSub := strings.Cut(e.Test, "/")
		key := e.Package + " " + top
		o := r.tests[key]
		if o == nil {
			o = &outcome{test: top, pkg: e.Package[strings.LastIndexByte(e.Package, '/')+1:]}
			r.tests[key] = o
			r.order = append(r.order, key)
		}
		switch e.Action {
		case "pass", "fail", "skip":
			if isSub {
				if !strings.Contains(sub, "/") {
					o.subtests++
				}
				break
			}
			o.result, o.seconds = e.Action, e.Elapsed
		case "output":
			if m := note.FindStringSubmatch(e.Output); m != nil {
				figure := strings.TrimSpace(m[1])
				if isSub {
					figure = sub + ": " + figure
				}
				o.notes = append(o.notes, figure)
			}
			if i := strings.Index(e.Output, "SKIPPED: "); i >= 0 {
				o.why = strings.TrimSpace(e.Output[i+len("SKIPPED: "):])
			}
		}
	}
	slices.Sort(r.order)
	return r, lines.Err()
}

// named finds the cases that a test's name cites: TestC22KillIssue, or a range
// as in TestModelC01ToC20Kill. TestRFC2136 cites none.
var named = regexp.MustCompile(`([A-N])(\d+)(?:To([A-N])(\d+))?`)

func casesOf(test string) []string {
	var ids []string
	for _, m := range named.FindAllStringSubmatch(test, -1) {
		if len(m[2]) != 2 {
			continue
		}
		if m[3] == "" || m[3] != m[1] {
			ids = append(ids, m[1]+m[2])
			continue
		}
		low, _ := strconv.Atoi(m[2])
		high, _ := strconv.Atoi(m[4])
		for n := low; n <= high; n++ {
			ids = append(ids, fmt.Sprintf("%s%02d", m[1], n))
		}
	}
	return ids
}
