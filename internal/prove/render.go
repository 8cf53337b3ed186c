package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writePage makes the page from the records that lie in dir.
func writePage(ctx context.Context, dir, out string) error {
	cases, err := readCases()
	if err != nil {
		return err
	}
	p := page{cases: cases}
	if err := load(filepath.Join(dir, testsFacts), &p.about); err != nil {
		return fmt.Errorf("no record of the tests in %s: %w", dir, err)
	}
	file, err := os.Open(filepath.Join(dir, testsRecord))
	if err != nil {
		return err
	}
	defer file.Close()
	if p.record, err = readRecord(file); err != nil {
		return err
	}
	if err := load(filepath.Join(dir, fuzzRecord), &p.fuzz); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	now, err := here("")
	if err != nil {
		return err
	}
	targets, err := findTargets(ctx)
	if err != nil {
		return err
	}
	p.fuzz.compare(targets)
	if p.now = now.Code; p.differs() {
		fmt.Fprintln(os.Stderr, "prove: the parts are not of the code that is checked out, or not of the same; the page says so")
	}
	if err := os.WriteFile(out, []byte(p.render()), 0o644); err != nil {
		return err
	}
	fmt.Printf("== %s: %d of %d cases shown to hold\n", out, p.shown(), len(cases))
	if n := p.record.failed(); n > 0 {
		return fmt.Errorf("%d tests failed", n)
	}
	return nil
}

// page is everything that the page is made from.
type page struct {
	cases  []testCase
	about  facts // of the tests
	record *record
	fuzz   fuzzing
	now    string // code of the checkout that writes the page
}

// differs reports whether the page joins parts of different code.
func (p *page) differs() bool {
	return p.about.Code != p.now || slices.ContainsFunc(p.fuzz.Targets, func(t *target) bool { return t.outdated })
}

// shown counts the cases that hold.
func (p *page) shown() int {
	n, byCase := 0, p.record.byCase()
	for _, c := range p.cases {
		if verdict(byCase[c.id]) == holds {
			n++
		}
	}
	return n
}

func (p *page) render() string {
	var b strings.Builder
	run, failed, skipped := 0, 0, 0
	for _, o := range p.record.tests {
		switch o.result {
		case "pass":
			run++
		case "skip":
			skipped++
		default:
			failed++
		}
	}
	b.WriteString("# Proof\n\nMade by a run, not by hand: `./scripts/prove` writes this page. [reliability.md](reliability.md) says what is promised.\n\n")
	if p.differs() {
		b.WriteString("**The parts below were run on different code, or not on the code beside this page: see their commits.**\n\n")
	}
	b.WriteString("| part | commit | code | begun | took | form | machine |\n|---|---|---|---|---|---|---|\n")
	p.about.row(&b, "tests")
	if p.fuzz.Targets != nil {
		p.fuzz.row(&b, "fuzzing")
	} else {
		b.WriteString("| fuzzing | not run | | | | | |\n")
	}
	fmt.Fprintf(&b, "\n| | |\n|---|---|\n| tests | %d passed, %d failed, %d skipped |\n| cases of the catalogue | %d of %d shown to hold |\n\n",
		run, failed, skipped, p.shown(), len(p.cases))
	p.fuzz.table(&b)
	p.caseTable(&b)
	p.otherFigures(&b)
	return b.String()
}

func (f facts) row(b *strings.Builder, part string) {
	fmt.Fprintf(b, "| %s | %s | %s | %s | %.0f min | %s | %s |\n", part, f.Commit, f.Code, f.Date.Format("2006-01-02 15:04 UTC"), f.Seconds/60, f.Form, f.Machine)
}

// compare marks the targets whose code is not that of the checkout, and adds
// those that were not run.
func (f *fuzzing) compare(now []*target) {
	for _, t := range f.Targets {
		t.outdated = !slices.ContainsFunc(now, func(o *target) bool { return o.Package == t.Package && o.Name == t.Name && o.Code == t.Code })
	}
	if f.Targets == nil {
		return // fuzzing as a whole was not
	}
	for _, o := range now {
		if !slices.ContainsFunc(f.Targets, func(t *target) bool { return o.Package == t.Package && o.Name == t.Name }) {
			f.Targets = append(f.Targets, o)
		}
	}
}

// table lists every target; one that did not get its time says so.
func (f *fuzzing) table(b *strings.Builder) {
	if f.Targets == nil {
		return
	}
	fmt.Fprintf(b, "## Fuzzing\n\nEach target was to have %.0f seconds of CPU time, measured on the fuzzing processes. The corpus holds the inputs that reach something new. "+
		"The code is that of the target's package and all that it imports: it may be older than the commit beside this page only if none of that has changed.\n\n", f.Goal)
	b.WriteString("| package | target | CPU seconds | inputs tried | corpus | commit | code | result |\n|---|---|---|---|---|---|---|---|\n")
	for _, t := range f.Targets {
		fmt.Fprintf(b, "| %s | %s | %.0f | %d | %d | %s | %s | %s |\n", t.Dir, t.Name, t.CPU, t.Execs, t.Corpus, t.Commit, t.Code, cell(t.result(f.Goal)))
	}
	b.WriteString("\n")
}

func (p *page) caseTable(b *strings.Builder) {
	byCase := p.record.byCase()
	b.WriteString("## Every case\n\n\"Not run\" means that no test of this run names the case: it is not shown, whatever may be true. A number behind a test is that of its subtests.\n\n| case | fault | tests | result |\n|---|---|---|---|\n")
	for _, c := range p.cases {
		outs := byCase[c.id]
		var tests, figures []string
		for _, o := range outs {
			t := o.test
			if o.subtests > 0 {
				t += fmt.Sprintf(" (%d)", o.subtests)
			}
			tests = append(tests, t)
			figures = append(figures, o.notes...)
		}
		result := verdict(outs)
		if result == notRun && c.reason != "" {
			result += ": " + cell(c.reason)
		}
		for _, n := range figures {
			result += "<br>" + cell(n)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", c.id, cell(c.fault), strings.Join(tests, "<br>"), result)
	}
}

// otherFigures prints those of tests that cite no case.
func (p *page) otherFigures(b *strings.Builder) {
	first := true
	for _, key := range p.record.order {
		o := p.record.tests[key]
		if len(casesOf(o.test)) > 0 {
			continue
		}
		for _, n := range o.notes {
			if first {
				b.WriteString("\n## Other figures of this run\n\n| test | figure |\n|---|---|\n")
				first = false
			}
			fmt.Fprintf(b, "| %s | %s |\n", o.test, cell(n))
		}
	}
}

// Verdicts on a case.
const (
	holds  = "holds"
	notRun = "not run"
)

// verdict joins the results of a case's tests.
func verdict(outs []*outcome) string {
	if len(outs) == 0 {
		return notRun
	}
	passed := false
	why := ""
	for _, o := range outs {
		switch o.result {
		case "pass":
			passed = true
		case "skip":
			why = o.why
		default:
			return "FAILS"
		}
	}
	if passed {
		return holds
	}
	return notRun + ": " + cell(why)
}

// cell keeps a text inside its cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
