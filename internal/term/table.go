package term

import (
	"fmt"
	"io"
	"strings"
)

// Table is rows under a header, two spaces between the columns.
type Table struct {
	Header []string
	Rows   [][]string
	// Elastic are the columns that give way when a terminal is too narrow,
	// down to a third of it each; the last column breaks at words.
	Elastic []int
	// Colour returns the colour of a cell; nil colours nothing.
	Colour func(row, column int) string
}

// minElastic is the least that an elastic column keeps.
const minElastic = 16

func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Write writes the table. On a terminal it fits: elastic columns are cut and
// the last one goes on in the next line. Elsewhere nothing is cut, so that
// other programs find every word.
func (t *Table) Write(term *Terminal, w io.Writer) {
	widths := t.fit(Width(w))
	last := len(widths) - 1
	line := func(row []string, n int) {
		for i, text := range Wrap(row[last], widths[last]) {
			var b strings.Builder
			for c, cell := range row[:last] {
				if i > 0 {
					cell = ""
				}
				cell = squeeze(cell, widths[c])
				b.WriteString(t.paint(term, w, n, c, cell) + strings.Repeat(" ", widths[c]-Length(cell)+2))
			}
			b.WriteString(t.paint(term, w, n, last, text))
			fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
		}
	}
	line(t.Header, -1)
	for n, row := range t.Rows {
		line(row, n)
	}
}

func (t *Table) paint(term *Terminal, w io.Writer, row, column int, cell string) string {
	switch {
	case row < 0:
		return term.paintFor(w, Dim, cell)
	case t.Colour == nil:
		return cell
	}
	return term.paintFor(w, t.Colour(row, column), cell)
}

// fit returns the width of each column; 0 for a last one that is not broken.
func (t *Table) fit(screen int) []int {
	widths := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for c, cell := range row {
			widths[c] = max(widths[c], Length(cell))
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
		for _, c := range t.Elastic {
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
