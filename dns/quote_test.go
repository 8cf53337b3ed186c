package dns

import (
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	long := strings.Repeat("a", 300)
	for value, want := range map[string]string{
		"":         `""`,
		"a b":      `"a b"`,
		`a"b\c`:    `"a\"b\\c"`,
		"a\x00é":   `"a\000\195\169"`,
		long:       `"` + long[:255] + `" "` + long[255:] + `"`,
		long[:255]: `"` + long[:255] + `"`,
	} {
		if got := quote(value); got != want {
			t.Errorf("quote(%.20q) = %s; want %s", value, got, want)
		}
		if got := unquote(want); got != value {
			t.Errorf("unquote(%.20q) = %q; want %q", want, got, value)
		}
	}
}

// What is not well formed stands for itself: some hosts do not quote.
func TestUnquote(t *testing.T) {
	for text, want := range map[string]string{
		`plain`:          `plain`,
		`a "b" c`:        `a "b" c`,
		`"open`:          `"open`,
		`"a" b`:          `"a" b`,
		`"a\`:            `"a\`,
		`"a\"`:           `"a\"`,
		`"a\25"`:         `"a\25"`,
		`"a\999"`:        `"a\999"`,
		`"a""b"`:         `ab`,
		"  \"a\"\t\"b\"": `ab`,
		`"a\065\b"`:      `aAb`,
		`""`:             ``,
		``:               ``,
	} {
		if got := unquote(text); got != want {
			t.Errorf("unquote(%q) = %q; want %q", text, got, want)
		}
	}
}

// FuzzUnquote: whatever a host answers is read without a panic, and what is
// written is read again, piece by piece.
func FuzzUnquote(f *testing.F) {
	for _, s := range []string{`"a" "b"`, `"\"\\\000"`, `"`, `"\`, `x`, strings.Repeat("y", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := unquote(quote(s)); got != s {
			t.Errorf("unquote(quote(%q)) = %q", s, got)
		}
		pieces, ok := unquoteAll(s)
		if !ok {
			return
		}
		again, ok := unquoteAll(quoteAll(pieces))
		if !ok || len(again) != len(pieces) || strings.Join(again, "\x00") != strings.Join(pieces, "\x00") {
			t.Errorf("%q is %q, and again %q", s, pieces, again)
		}
	})
}

// FuzzExplain: whatever a host refuses with becomes a short text or none.
func FuzzExplain(f *testing.F) {
	for _, s := range []string{
		`{"errors":[{"code":1003,"message":"Invalid or missing zone id."}]}`, `{"error":{"code":"not_found","message":"x"}}`,
		`[{"records":["y"]}]`, `"z"`, `null`, `1`, strings.Repeat("[", 100) + strings.Repeat("]", 100),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if text := explain(body); len(text) > len(body)*8+64 {
			t.Errorf("%d bytes became %d", len(body), len(text))
		}
	})
}

func TestExplain(t *testing.T) {
	for body, want := range map[string]string{
		`{"success":false,"errors":[{"code":9109,"message":"Invalid access token"}],"messages":[],"result":null}`: "Invalid access token",
		`{"error":{"code":"unauthorized","message":"unable to authenticate","details":null}}`:                     "unauthorized; unable to authenticate",
		`{"errors":[{"reason":"Invalid Token"}]}`:                                                                 "Invalid Token",
		`{"error":"Invalid API token.","status":401}`:                                                             "Invalid API token.",
		`{"error":"invalid_client","error_description":"AADSTS7000215: Invalid"}`:                                 "invalid_client; AADSTS7000215: Invalid",
		`{"detail":"Request was throttled. Expected available in 5 seconds."}`:                                    "Request was throttled. Expected available in 5 seconds.",
		`[{"records":["Record content malformed."]},{}]`:                                                          "Record content malformed.",
		`{"is_fatal":true,"error_code":"unauthorized","error_msg":"Unauthorized"}`:                                "unauthorized; Unauthorized",
		`<html><title>502</title></html>`:                                                                         "",
		``:                                                                                                        "",
	} {
		if got := explain([]byte(body)); got != want {
			t.Errorf("explain(%s) = %q; want %q", body, got, want)
		}
	}
}
