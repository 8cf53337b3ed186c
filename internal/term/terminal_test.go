package term

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want []string
	}{
		{"one two three", 0, []string{"one two three"}},
		{"one two three", 13, []string{"one two three"}},
		{"one two three", 8, []string{"one two", "three"}},
		{"one two three", 7, []string{"one two", "three"}},
		{"a verylongword b", 5, []string{"a", "verylongword", "b"}},
		{"verylongword", 5, []string{"verylongword"}},
		{"a\nb", 5, []string{"a", "b"}},
		{"Bücher für alle", 10, []string{"Bücher für", "alle"}},
		{"", 5, []string{""}},
	} {
		if diff := cmp.Diff(c.want, Wrap(c.text, c.n)); diff != "" {
			t.Errorf("wrap(%q, %d):\n%s", c.text, c.n, diff)
		}
	}
}

func TestTableFits(t *testing.T) {
	tab := Table{Header: []string{"NAME", "NAMES", "EXPIRES", "RENEWS", "STATUS"}, Elastic: []int{0, 1}}
	tab.Add("a-very-long-name-of-a-certificate.example.com", "another-very-long-name.example.com +99 more", "in 90 days", "in 60 days", "no certificate")
	tab.Add("b.example", "b.example", "-", "-", "ok")
	// Nowhere but on a terminal is anything cut.
	var b bytes.Buffer
	tab.Write(&Terminal{}, &b)
	if !strings.Contains(b.String(), "another-very-long-name.example.com +99 more") {
		t.Errorf("cut without a terminal:\n%s", b.String())
	}
	for _, screen := range []int{80, 100, 200} {
		total := 2 * 4
		for _, n := range tab.fit(screen) {
			total += n
		}
		if total > screen {
			t.Errorf("%d columns on a screen of %d", total, screen)
		}
	}
	if got := squeeze("n1.certificate.example", 12); got != "n1.c..xample" {
		t.Errorf("squeezed to %q", got)
	}
	if got := shorten("certificate.example", 10); got != "certific.." {
		t.Errorf("shortened to %q", got)
	}
}

func TestRoughly(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0 s"}, {89 * time.Second, "89 s"}, {91 * time.Second, "2 min"}, {time.Hour, "60 min"}, {89 * time.Minute, "89 min"},
		{2 * time.Hour, "2 h"}, {47 * time.Hour, "47 h"}, {2 * day, "2 days"}, {90*day - time.Second, "90 days"}, {90*day - 2*time.Hour, "89 days"},
	} {
		if got := Roughly(c.d); got != c.want {
			t.Errorf("roughly(%v) = %q, want %q", c.d, got, c.want)
		}
	}
	now := time.Date(2026, 11, 22, 15, 4, 0, 0, time.UTC)
	if got := Instant(now.Add(-3*day), now); got != "3 days ago (2026-11-19 15:04 UTC)" {
		t.Errorf("instant: %q", got)
	}
}
