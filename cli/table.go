package cli

import (
	"fmt"
	"io"
	"strings"
)

// table is rows under a header, two spaces between the columns.
type table struct {
	header []string
	rows   [][]string
	// elastic are the columns that give way when a terminal is too narrow,
	// down to a third of it each; the last column breaks at words.
	elastic []int
	// colour returns the colour of a cell; nil colours nothing.
	colour func(row, column int) string
}

// minElastic is the least that an elastic column keeps.
const minElastic = 16

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table. On a terminal it fits: elastic columns are cut and
// the last one goes on in the next line. Elsewhere nothing is cut, so that
// other programs find every word.
func (t *table) write(term *Terminal, w io.Writer) {
	widths := t.fit(width(w))
	last := len(widths) - 1
	line := func(row []string, n int) {
		for i, text := range wrap(row[last], widths[last]) {
			var b strings.Builder
			for c, cell := range row[:last] {
				if i > 0 {
					cell = ""
				}
				cell = squeeze(cell, widths[c])
				b.WriteString(t.paint(term, w, n, c, cell) + strings.Repeat(" ", widths[c]-length(cell)+2))
			}
			b.WriteString(t.paint(term, w, n, last, text))
			fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
		}
	}
	line(t.header, -1)
	for n, row := range t.rows {
		line(row, n)
	}
}

func (t *table) paint(term *Terminal, w io.Writer, row, column int, cell string) string {
	switch {
	case row < 0:
		return term.paintFor(w, dim, cell)
	case t.colour == nil:
		return cell
	}
	return term.paintFor(w, t.colour(row, column), cell)
}

// fit returns the width of each column; 0 for a last one that is not broken.
func (t *table) fit(screen int) []int {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for c, cell := range row {
			widths[c] = max(widths[c], length(cell))
		}
	}
	last := len(widths) - 1
	if screen == 0 {
		widths[last] = 0
		return widths
	}
	left := screen - 2*last
	for _, n := range widths {
		left -= n
	}
	if left >= 0 {
		return widths
	}
	// What most needs room to be read is the last column; it may shrink to a
	// third of the screen before the others give way.
	give := min(-left, max(0, widths[last]-screen/3))
	widths[last] -= give
	left += give
	for left < 0 {
		widest := -1
		for _, c := range t.elastic {
			if widths[c] > minElastic && (widest < 0 || widths[c] > widths[widest]) {
				widest = c
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		left++
	}
	return widths
}

// shorten cuts s to n characters: the end goes, and two dots say so.
func shorten(s string, n int) string {
	if length(s) <= n {
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
