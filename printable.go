package inkan

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s fit for a terminal, a log and a table: control and
// format characters escaped, cut to at most max bytes, the last three of them
// dots if anything is missing. Whatever a CA or a network said passes through
// it before a person reads it.
func Printable(s string, max int) string {
	const dots = "..."
	var b strings.Builder
	whole := 0 // what may stay if the rest must go
	for _, r := range s {
		piece := string(r)
		switch {
		case r == utf8.RuneError:
			piece = `\ufffd`
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			piece = fmt.Sprintf("\\u%04x", r)
		}
		if b.Len()+len(piece) > max {
			return b.String()[:whole] + dots[:min(max, len(dots))]
		}
		b.WriteString(piece)
		if b.Len()+len(dots) <= max {
			whole = b.Len()
		}
	}
	return b.String()
}
