package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

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

// paint colours text for stderr and stdout alike, when both go to a terminal
// and NO_COLOR (no-color.org) is not set.
func (a *app) paint(colour, text string) string {
	if a.env["NO_COLOR"] != "" || a.env["TERM"] == "dumb" || !isTerminal(a.stdout) || !isTerminal(a.stderr) {
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

// writeJSON writes one indented JSON value to stdout.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table writes rows under a header, columns two spaces apart, the last column
// wrapped or cut so that a line fits into 80 columns.
func table(w io.Writer, header []string, rows [][]string, paint func(column int, cell string) string) {
	const width = 80
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	left := width
	for _, n := range widths[:len(widths)-1] {
		left -= n + 2
	}
	widths[len(widths)-1] = max(left, 10)
	line := func(row []string, painted bool) {
		var b strings.Builder
		for i, cell := range row {
			n := utf8.RuneCountInString(cell)
			if i == len(row)-1 && n > widths[i] {
				cell = string([]rune(cell)[:widths[i]-3]) + "..."
			}
			pad := ""
			if i < len(row)-1 {
				pad = strings.Repeat(" ", widths[i]-n+2)
			}
			if painted && paint != nil {
				cell = paint(i, cell)
			}
			b.WriteString(cell + pad)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(header, false)
	for _, row := range rows {
		line(row, true)
	}
}

// when writes an instant for people: how far away, and the date.
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

// roughly writes a span with one unit.
func roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
