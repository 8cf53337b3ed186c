package main

import (
	"fmt"
	"strings"
	"time"
)

// facts say where the page comes from.
type facts struct {
	Commit, Form, Machine string
	Date                  time.Time
}

// render writes the page.
func render(cases []testCase, r *record, fuzzed string, f facts) string {
	var b strings.Builder
	byCase := map[string][]*outcome{}
	for _, key := range r.order {
		o := r.tests[key]
		for _, id := range casesOf(o.test) {
			byCase[id] = append(byCase[id], o)
		}
	}
	run, failed, skipped := 0, 0, 0
	for _, o := range r.tests {
		switch o.result {
		case "pass":
			run++
		case "skip":
			skipped++
		default:
			failed++
		}
	}
	shown := 0
	for _, c := range cases {
		if verdict(byCase[c.id]) == "holds" {
			shown++
		}
	}
	fmt.Fprintf(&b, `# Proof

Made by a run, not by hand: `+"`./scripts/prove`"+` writes this page. [reliability.md](reliability.md) says what is promised.

| | |
|---|---|
| commit | %s |
| date | %s |
| form | %s |
| machine | %s |
| tests | %d passed, %d failed, %d skipped |
| cases of the catalogue | %d of %d shown to hold |

`, f.Commit, f.Date.Format("2006-01-02 15:04 UTC"), f.Form, f.Machine, run, failed, skipped, shown, len(cases))
	notes(&b, r)
	if fuzzed != "" {
		b.WriteString("## Fuzzing\n\n| target | CPU seconds | result |\n|---|---|---|\n")
		for line := range strings.Lines(fuzzed) {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(strings.Split(strings.TrimSpace(line), "\t"), " | "))
		}
		b.WriteString("\n")
	}
	b.WriteString("## Every case\n\n\"Not run\" means that no test of this run names the case: it is not shown, whatever may be true.\n\n| case | fault | tests | result |\n|---|---|---|---|\n")
	for _, c := range cases {
		outs := byCase[c.id]
		var tests []string
		for _, o := range outs {
			t := o.test
			if o.subtests > 0 {
				t += fmt.Sprintf(" (%d)", o.subtests)
			}
			tests = append(tests, t)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.id, cell(c.fault), strings.Join(tests, "<br>"), verdict(outs))
	}
	return b.String()
}

// notes prints the figures that tests gave.
func notes(b *strings.Builder, r *record) {
	first := true
	for _, key := range r.order {
		o := r.tests[key]
		for _, n := range o.notes {
			if first {
				b.WriteString("## Figures of this run\n\n| test | figure |\n|---|---|\n")
				first = false
			}
			fmt.Fprintf(b, "| %s | %s |\n", o.test, cell(n))
		}
	}
	if !first {
		b.WriteString("\n")
	}
}

// verdict joins the results of a case's tests.
func verdict(outs []*outcome) string {
	if len(outs) == 0 {
		return "not run"
	}
	holds := false
	why := ""
	for _, o := range outs {
		switch o.result {
		case "pass":
			holds = true
		case "skip":
			why = o.why
		default:
			return "FAILS"
		}
	}
	if holds {
		return "holds"
	}
	return strings.TrimSpace("not run: " + cell(why))
}

// cell keeps a text inside its cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
