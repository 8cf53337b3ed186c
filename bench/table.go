package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// printTable writes rows, the first being the head, as an aligned Markdown table.
func printTable(w io.Writer, rows [][]string) error {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	line := func(cells []string, fill string) {
		for i, cell := range cells {
			fmt.Fprintf(&b, "|%s%s%s%s", fill, cell, strings.Repeat(fill, width[i]-utf8.RuneCountInString(cell)), fill)
		}
		b.WriteString("|\n")
	}
	line(rows[0], " ")
	line(make([]string, len(rows[0])), "-")
	for _, row := range rows[1:] {
		for i := range row {
			row[i] = strings.ReplaceAll(row[i], "\n", " ")
		}
		line(row, " ")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// seconds prints a duration the way the targets are written.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%.3f s", d.Seconds())
}

// milliseconds prints short durations.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// mebibytes prints a size in bytes.
func mebibytes(n int64) string {
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
