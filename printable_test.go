package inkan

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzPrintable(f *testing.F) {
	f.Add("a\r\nb\x1b[0m\u202e世界\xff", 10)
	f.Add("plain", 3)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 0 || max > 1<<16 {
			return
		}
		got := Printable(s, max)
		if len(got) > max {
			t.Errorf("Printable(%q, %d) has %d bytes", s, max, len(got))
		}
		if !utf8.ValidString(got) || strings.ContainsFunc(got, hidden) {
			t.Errorf("Printable(%q, %d) = %q", s, max, got)
		}
		if len(s) <= max && !strings.ContainsFunc(s, hidden) && utf8.ValidString(s) && got != s {
			t.Errorf("Printable(%q, %d) changed it to %q", s, max, got)
		}
	})
}
