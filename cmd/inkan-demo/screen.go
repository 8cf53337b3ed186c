package main

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

const width = 80

// screen is where the demo tells its story.
type screen struct {
	out    *os.File
	colour bool
	steps  int
}

// newScreen writes to out, in colour if that is a terminal and colour is wanted.
func newScreen(out *os.File, colour bool) *screen {
	return &screen{out: out, colour: colour && term.IsTerminal(int(out.Fd()))}
}

const (
	bold  = "1"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// step begins a chapter: its title and what it is about.
func (s *screen) step(title, text string) {
	s.steps++
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, fmt.Sprintf("%d. %s", s.steps, title)))
	s.say(text)
}

// say writes a paragraph.
func (s *screen) say(text string) {
	for _, line := range wrap(strings.Fields(text), width-3) {
		fmt.Fprintf(s.out, "   %s\n", line)
	}
}

// command shows a command as somebody types it.
func (s *screen) command(args []string) {
	var words []string
	for i, a := range args {
		w := shellWord(a)
		if i > 0 && strings.HasPrefix(args[i-1], "--") && !strings.HasPrefix(a, "--") {
			words[len(words)-1] += " " + w // a flag and its value stay together
			continue
		}
		words = append(words, w)
	}
	lines := wrap(words, width-6)
	fmt.Fprintf(s.out, "\n%s\n", s.paint(cyan, "$ "+strings.Join(lines, " \\\n    ")))
}

// fact writes one line of a list.
func (s *screen) fact(what, text string) {
	fmt.Fprintf(s.out, "   %s %s\n", s.paint(green, fmt.Sprintf("%-12s", what)), text)
}

// wrap joins words to lines of at most so many characters, if words allow it.
func wrap(words []string, most int) []string {
	var lines []string
	for i, w := range words {
		last := len(lines) - 1
		if i > 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(w) <= most {
			lines[last] += " " + w
			continue
		}
		lines = append(lines, w)
	}
	return lines
}

// shellWord quotes a word where a shell would read more in it.
func shellWord(w string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,@%+", r)
	}
	if w != "" && strings.IndexFunc(w, func(r rune) bool { return !plain(r) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
