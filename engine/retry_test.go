package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

// TestG07Delays: 1, 10, 100 minutes, then daily; they never fall, whatever the
// count, and 30 days of failure are at most 34 attempts (CVE-2025-55753).
func TestG07Delays(t *testing.T) {
	for _, cause := range []error{errors.New("x"), inkan.Errorf(inkan.RateLimited, "a", "x"), inkan.Errorf(inkan.Operator, "a", "x"), inkan.Errorf(inkan.Rejected, "a", "x"), inkan.Errorf(inkan.Bug, "a", "x")} {
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
	at := func(d time.Duration) error { return inkan.Errorf(inkan.RateLimited, "a", "x").After(errTime.Add(d)) }
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
		{inkan.Errorf(inkan.Pending, "a", "x"), 1, 0},
		{inkan.Errorf(inkan.Pending, "a", "x").After(errTime.Add(-time.Hour)), 1, time.Second},
		{inkan.Errorf(inkan.Pending, "a", "x").After(errTime.Add(5 * time.Second)), 9, 5 * time.Second},
		{context.Canceled, 9, 0},
		{inkan.Errorf(inkan.Operator, "a", "x"), 1, 100 * time.Minute},
		{inkan.Errorf(inkan.Operator, "a", "x"), 2, 24 * time.Hour},
		{errors.Join(at(3*time.Hour), nil), 1, 3 * time.Hour},
	} {
		if got := NextTry(c.cause, c.attempts, errTime).Sub(errTime); got != c.want {
			t.Errorf("%v after %d: %v, want %v", c.cause, c.attempts, got, c.want)
		}
	}
}
