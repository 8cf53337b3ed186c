// Package term talks to a person at a terminal, or to the program that reads what
// is printed: colours, lines that fit, tables, progress and questions.
package term

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// The colours, with a meaning each: red for what failed, yellow for what wants
// attention, green for what is sound, dim for what may be skipped.
const (
	Red    = "31"
	Yellow = "33"
	Green  = "32"
	Dim    = "2"
	Bold   = "1"
)

// isTerminal reports whether w or r is a terminal.
func isTerminal(x any) bool {
	f, ok := x.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width returns the columns of the terminal that w is; 0 if it is none, which
// means that nothing is cut.
func Width(w io.Writer) int {
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
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Quiet          bool // nothing but errors is written
	JSON           bool // stdout is JSON
	Plain          bool // no colour: NO_COLOR (no-color.org) is set, or the terminal is dumb
	Dumb           bool // it cannot move its cursor

	mu        sync.Mutex
	questions *Asker     // who asks the person
	talking   sync.Mutex // held by who talks to the person
	following *Progress  // what is told meanwhile
}

// Talk keeps the progress lines and other orders away from the person until done
// is called.
func (t *Terminal) Talk() (done func()) {
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

// Interactive reports whether there is a person to ask.
func (t *Terminal) Interactive() bool {
	return isTerminal(t.Stdin) && isTerminal(t.Stderr) && !t.Quiet && !t.JSON
}

// TellErr writes a word and what follows it to stderr; on a terminal in lines
// that fit.
func (t *Terminal) TellErr(colour, word, text string) {
	for i, line := range Wrap(word+" "+text, Width(t.Stderr)-2) {
		if i == 0 {
			fmt.Fprintln(t.Stderr, t.PaintErr(colour, word)+strings.TrimPrefix(line, word))
		} else {
			fmt.Fprintln(t.Stderr, "  "+line)
		}
	}
}

func (t *Terminal) Section(title string) {
	t.Say("")
	t.Say("%s", t.Paint(Dim, title))
}

// Field writes one named value.
func (t *Terminal) Field(name, value string) {
	if value == "" {
		return
	}
	for i, line := range Wrap(value, Width(t.Stdout)-15) {
		if i > 0 {
			name = ""
		}
		t.Say("  %-12s %s", name, line)
	}
}

// colourful reports whether w may be coloured: it is a terminal that can,
// and nobody forbade it.
func (t *Terminal) colourful(w io.Writer) bool {
	return isTerminal(w) && !t.Plain
}

// Paint colours text for stdout, paintErr for stderr.
func (t *Terminal) Paint(colour, text string) string { return t.paintFor(t.Stdout, colour, text) }

func (t *Terminal) PaintErr(colour, text string) string { return t.paintFor(t.Stderr, colour, text) }

func (t *Terminal) paintFor(w io.Writer, colour, text string) string {
	if colour == "" || text == "" || !t.colourful(w) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// Say writes a line to stdout unless --quiet or --json is in force.
func (t *Terminal) Say(format string, args ...any) {
	if !t.Quiet && !t.JSON {
		fmt.Fprintf(t.Stdout, format+"\n", args...)
	}
}

// Warn writes a line to stderr unless --quiet or --json is in force.
func (t *Terminal) Warn(format string, args ...any) {
	if !t.Quiet && !t.JSON {
		t.TellErr(Yellow, "inkan: warning:", fmt.Sprintf(format, args...))
	}
}

// WriteJSON writes one indented JSON value to stdout.
func (t *Terminal) WriteJSON(v any) error {
	enc := json.NewEncoder(t.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Item writes a word and what there is to say of it, further lines indented.
func (t *Terminal) Item(word, text string) {
	for i, line := range Wrap(word+": "+text, Width(t.Stdout)-2) {
		if i == 0 {
			t.Say("%s", t.Paint(Bold, word)+strings.TrimPrefix(line, word))
		} else {
			t.Say("  %s", line)
		}
	}
}

// Paragraph writes text under a margin, broken at words where the terminal
// ends.
func (t *Terminal) Paragraph(margin, text string) {
	for _, line := range Wrap(text, Width(t.Stdout)-len(margin)) {
		t.Say("%s%s", margin, line)
	}
}
