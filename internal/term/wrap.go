package term

import (
	"strings"
)

// shorten cuts s to n characters: the end goes, and two dots say so.
func shorten(s string, n int) string {
	if Length(s) <= n {
		return s
	}
	return string([]rune(s)[:n-2]) + ".."
}

// squeeze cuts s to n characters in the middle: names differ at both ends.
func squeeze(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	tail := n / 2
	return string(r[:n-2-tail]) + ".." + string(r[len(r)-tail:])
}

// Wrap breaks text at spaces into lines of at most n characters, if n is
// positive. A longer word gets a line of its own.
func Wrap(text string, n int) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		for n > 0 && Length(line) > n {
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

func Length(s string) int { return len([]rune(s)) }
