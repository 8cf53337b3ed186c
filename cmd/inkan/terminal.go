package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// The colours, with a meaning each: red for what failed, yellow for what wants
// attention, green for what is sound, dim for what may be skipped.
const (
	red    = "31"
	yellow = "33"
	green  = "32"
	dim    = "2"
	bold   = "1"
)

// isTerminal reports whether w or r is a terminal.
func isTerminal(x any) bool {
	f, ok := x.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns the columns of the terminal that w is; 0 if it is none, which
// means that nothing is cut.
func width(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n >= 20 {
		return n
	}
	return 80
}

// colourful reports whether w may be coloured: it is a terminal that can, and
// NO_COLOR (no-color.org) is not set.
func (a *app) colourful(w io.Writer) bool {
	return isTerminal(w) && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb"
}

// paint colours text for stdout, paintErr for stderr.
func (a *app) paint(colour, text string) string    { return a.paintFor(a.stdout, colour, text) }
func (a *app) paintErr(colour, text string) string { return a.paintFor(a.stderr, colour, text) }

func (a *app) paintFor(w io.Writer, colour, text string) string {
	if colour == "" || text == "" || !a.colourful(w) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// say writes a line to stdout unless --quiet or --json is in force.
func (a *app) say(format string, args ...any) {
	if !a.quiet && !a.json {
		fmt.Fprintf(a.stdout, format+"\n", args...)
	}
}

// warn writes a line to stderr unless --quiet or --json is in force.
func (a *app) warn(format string, args ...any) {
	if !a.quiet && !a.json {
		a.tellErr(yellow, "inkan: warning:", fmt.Sprintf(format, args...))
	}
}

// writeJSON writes one indented JSON value to stdout.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// item writes a word and what there is to say of it, further lines indented.
func (a *app) item(word, text string) {
	for i, line := range wrap(word+": "+text, width(a.stdout)-2) {
		if i == 0 {
			a.say("%s", a.paint(bold, word)+strings.TrimPrefix(line, word))
		} else {
			a.say("  %s", line)
		}
	}
}

// paragraph writes text under a margin, broken at words where the terminal
// ends.
func (a *app) paragraph(margin, text string) {
	for _, line := range wrap(text, width(a.stdout)-len(margin)) {
		a.say("%s%s", margin, line)
	}
}

// wrap breaks text at spaces into lines of at most n characters, if n is
// positive. A longer word gets a line of its own.
func wrap(text string, n int) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		for n > 0 && length(line) > n {
			r := []rune(line)
			cut := strings.LastIndexByte(string(r[:n+1]), ' ')
			if cut <= 0 {
				if cut = strings.IndexByte(line, ' '); cut < 0 {
					break
				}
			}
			lines = append(lines, line[:cut])
			line = strings.TrimLeft(line[cut:], " ")
		}
		lines = append(lines, line)
	}
	return lines
}

func length(s string) int { return len([]rune(s)) }

// when writes an instant for people: how far away.
func when(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := t.Sub(now)
	words := roughly(d.Abs())
	if d < 0 {
		return words + " ago"
	}
	return "in " + words
}

// instant writes a moment for a sentence: "in 10 min (2026-11-22 15:04 UTC)".
func instant(t, now time.Time) string { return when(t, now) + " (" + stamp(t) + ")" }

// until writes a moment with how far away it is: "2026-11-22 15:04 UTC (in 10 min)".
func until(t, now time.Time) string { return stamp(t) + " (" + when(t, now) + ")" }

// stamp writes a moment in UTC, to the minute.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// roughly writes a span with one unit.
func roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Round(time.Hour).Hours()/24))
}
