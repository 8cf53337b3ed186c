package inkan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errTime = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

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

// TestG07Delays: 1, 10, 100 minutes, then daily; they never fall, whatever the
// count, and 30 days of failure are at most 34 attempts (CVE-2025-55753).
func TestG07Delays(t *testing.T) {
	for _, cause := range []error{errors.New("x"), Errorf(RateLimited, "a", "x"), Errorf(Operator, "a", "x"), Errorf(Rejected, "a", "x"), Errorf(Bug, "a", "x")} {
		var last time.Duration
		for n := range 100_000 {
			d := NextTry(cause, n, errTime).Sub(errTime)
			if d < last || d < time.Minute || d > 24*time.Hour {
				t.Fatalf("%v: the delay after %d failures is %v, after %v before", cause, n, d, last)
			}
			last = d
		}
		now, attempts := errTime, 0
		for now.Sub(errTime) < 30*24*time.Hour {
			attempts++
			now = NextTry(cause, attempts, now)
		}
		if attempts > 34 {
			t.Errorf("%v: %d attempts in 30 days", cause, attempts)
		}
	}
	want := []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour, 24 * time.Hour}
	for i, w := range want {
		if got := NextTry(errors.New("x"), i+1, errTime).Sub(errTime); got != w {
			t.Errorf("after %d failures %v, want %v", i+1, got, w)
		}
	}
	for _, n := range []int{-1, 1 << 30, -1 << 62} {
		if d := NextTry(errors.New("x"), n, errTime).Sub(errTime); d < time.Minute || d > 24*time.Hour {
			t.Errorf("count %d: %v", n, d)
		}
	}
}

// TestA04RetryAfter: what is asked is waited for, clamped to [1 s, 24 h], and
// never shortens the own back-off.
func TestA04RetryAfter(t *testing.T) {
	at := func(d time.Duration) error { return Errorf(RateLimited, "a", "x").After(errTime.Add(d)) }
	for _, c := range []struct {
		cause    error
		attempts int
		want     time.Duration
	}{
		{at(30 * time.Minute), 1, 30 * time.Minute},
		{at(30 * time.Minute), 3, 100 * time.Minute},
		{at(0), 1, time.Minute},
		{at(-5 * time.Second), 1, time.Minute},
		{at(99999999 * time.Second), 1, 24 * time.Hour},
		{Errorf(Pending, "a", "x"), 1, 0},
		{Errorf(Pending, "a", "x").After(errTime.Add(-time.Hour)), 1, time.Second},
		{Errorf(Pending, "a", "x").After(errTime.Add(5 * time.Second)), 9, 5 * time.Second},
		{context.Canceled, 9, 0},
		{Errorf(Operator, "a", "x"), 1, 100 * time.Minute},
		{Errorf(Operator, "a", "x"), 2, 24 * time.Hour},
		{errors.Join(at(3*time.Hour), nil), 1, 3 * time.Hour},
	} {
		if got := NextTry(c.cause, c.attempts, errTime).Sub(errTime); got != c.want {
			t.Errorf("%v after %d: %v, want %v", c.cause, c.attempts, got, c.want)
		}
	}
}
