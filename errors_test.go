package inkan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestKindOf(t *testing.T) {
	rejected := Errorf(Rejected, "newOrder at ca", "no")
	for what, c := range map[string]struct {
		err  error
		want Kind
	}{
		"nil":                  {nil, Temporary},
		"anything":             {errors.New("x"), Temporary},
		"an Error":             {rejected, Rejected},
		"wrapped":              {fmt.Errorf("a: %w", rejected), Rejected},
		"joined":               {errors.Join(errors.New("x"), rejected), Rejected},
		"the outermost counts": {Errorf(Operator, "a", "%w", rejected), Operator},
		"cancelled":            {fmt.Errorf("x: %w", context.Canceled), Pending},
		"deadline":             {context.DeadlineExceeded, Temporary},
		"an Error of cancel":   {Errorf(Temporary, "a", "%w", context.Canceled), Temporary},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
	if !errors.Is(fmt.Errorf("a: %w", rejected), Rejected) || errors.Is(rejected, Operator) {
		t.Error("errors.Is does not ask for the kind")
	}
	if got := rejected.Error(); got != "newOrder at ca: no" {
		t.Error(got)
	}
}

func TestKindText(t *testing.T) {
	for k := Temporary; k <= Bug; k++ {
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		var got Kind
		if err := json.Unmarshal(b, &got); err != nil || got != k || string(b) != `"`+k.String()+`"` {
			t.Errorf("%v: %s -> %v, %v", k, b, got, err)
		}
	}
	k := Bug
	if err := json.Unmarshal([]byte(`"of the future"`), &k); err != nil || k != Temporary {
		t.Errorf("an unknown word: %v, %v", k, err)
	}
}

func TestHintsOf(t *testing.T) {
	inner := Errorf(Operator, "b", "x").WithHint("two\nthree")
	outer := Errorf(Operator, "a", "%w", inner).WithHint("one\ntwo")
	both := errors.Join(fmt.Errorf("c: %w", outer), Errorf(Bug, "d", "y").WithHint("four"), inner)
	if diff := cmp.Diff([]string{"one", "two", "three", "four"}, HintsOf(both)); diff != "" {
		t.Error(diff)
	}
	if HintsOf(nil) != nil || HintsOf(errors.New("x")) != nil {
		t.Error("hints from nowhere")
	}
}

func TestRetryAfterOf(t *testing.T) {
	a, b := errTime.Add(time.Hour), errTime.Add(2*time.Hour)
	early, late := Errorf(Temporary, "a", "x").After(a), Errorf(RateLimited, "b", "y").After(b)
	for what, c := range map[string]struct {
		err  error
		want time.Time
	}{
		"nil":        {nil, time.Time{}},
		"none":       {Errorf(Bug, "a", "x"), time.Time{}},
		"one":        {fmt.Errorf("c: %w", early), a},
		"the latest": {Errorf(Temporary, "c", "%w", late).After(a), b},
		"joined":     {errors.Join(early, nil, late), b},
		"join of 1":  {errors.Join(late, nil), b},
		"two %w":     {fmt.Errorf("%w and %w", late, early), b},
	} {
		if got := RetryAfterOf(c.err); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

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

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError
}
