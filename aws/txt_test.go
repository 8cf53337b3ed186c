package aws

import (
	"strings"
	"testing"
)

func TestQuoteTXT(t *testing.T) {
	for value, want := range map[string]string{
		"":                       `""`,
		"abc":                    `"abc"`,
		`a"b\c`:                  `"a\"b\\c"`,
		"ä\x00":                  `"\303\244\000"`,
		strings.Repeat("x", 255): `"` + strings.Repeat("x", 255) + `"`,
		strings.Repeat("x", 256): `"` + strings.Repeat("x", 255) + `" "x"`,
	} {
		if got := quoteTXT(value); got != want {
			t.Errorf("quoteTXT(%q) = %s, want %s", value, got, want)
		}
	}
	// As others write them.
	for text, want := range map[string]string{
		`"a"  "b"` + "\t" + `"c"`: "abc",
		`"a\040b"`:                "a b",
		`"\999"`:                  "999",
		`bare`:                    "bare",
		`"open`:                   `"open`,
		`"end\`:                   `"end\`,
		`"a"b"c"`:                 `"a"b"c"`,
	} {
		if got := unquoteTXT(text); got != want {
			t.Errorf("unquoteTXT(%s) = %q, want %q", text, got, want)
		}
	}
}

func FuzzTXT(f *testing.F) {
	for _, s := range []string{"", "abc", `"a" "b\"\040"`, "\xff\x00", strings.Repeat("y", 700)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := quoteTXT(s)
		if got := unquoteTXT(quoted); got != s {
			t.Errorf("%q became %s and then %q", s, quoted, got)
		}
		unquoteTXT(s) // does not panic
	})
}
