package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
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

// Terminal is where a command talks to a person, or to a program that reads what
// it prints.
type Terminal struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	quiet          bool // nothing but errors is written
	json           bool // stdout is JSON
	plain          bool // no colour: NO_COLOR (no-color.org) is set, or the terminal is dumb
	dumb           bool // it cannot move its cursor

	mu        sync.Mutex
	questions *asker     // who asks the person
	talking   sync.Mutex // held by who talks to the person
	following *progress  // what is told meanwhile
}

// talk keeps the progress lines and other orders away from the person until done
// is called.
func (t *Terminal) talk() (done func()) {
	t.talking.Lock()
	resume := func() {}
	t.mu.Lock()
	if t.following != nil {
		resume = t.following.pause()
	}
	t.mu.Unlock()
	return func() {
		resume()
		t.talking.Unlock()
	}
}

// colourful reports whether w may be coloured: it is a terminal that can,
// and nobody forbade it.
func (t *Terminal) colourful(w io.Writer) bool {
	return isTerminal(w) && !t.plain
}

// paint colours text for stdout, paintErr for stderr.
func (t *Terminal) paint(colour, text string) string    { return t.paintFor(t.stdout, colour, text) }
func (t *Terminal) paintErr(colour, text string) string { return t.paintFor(t.stderr, colour, text) }

func (t *Terminal) paintFor(w io.Writer, colour, text string) string {
	if colour == "" || text == "" || !t.colourful(w) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// say writes a line to stdout unless --quiet or --json is in force.
func (t *Terminal) say(format string, args ...any) {
	if !t.quiet && !t.json {
		fmt.Fprintf(t.stdout, format+"\n", args...)
	}
}

// warn writes a line to stderr unless --quiet or --json is in force.
func (t *Terminal) warn(format string, args ...any) {
	if !t.quiet && !t.json {
		t.tellErr(yellow, "inkan: warning:", fmt.Sprintf(format, args...))
	}
}

// writeJSON writes one indented JSON value to stdout.
func (t *Terminal) writeJSON(v any) error {
	enc := json.NewEncoder(t.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// item writes a word and what there is to say of it, further lines indented.
func (t *Terminal) item(word, text string) {
	for i, line := range wrap(word+": "+text, width(t.stdout)-2) {
		if i == 0 {
			t.say("%s", t.paint(bold, word)+strings.TrimPrefix(line, word))
		} else {
			t.say("  %s", line)
		}
	}
}

// paragraph writes text under a margin, broken at words where the terminal
// ends.
func (t *Terminal) paragraph(margin, text string) {
	for _, line := range wrap(text, width(t.stdout)-len(margin)) {
		t.say("%s%s", margin, line)
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
