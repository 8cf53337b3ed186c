package txt

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
)

func TestCheck(t *testing.T) {
	_, got, err := Check("Example.org.", []inkan.TXT{
		{Name: "_acme-challenge.b.example.org.", Value: "2"}, {Name: "_acme-challenge.B.example.org.", Value: "1", TTL: 60},
		{Name: "_acme-challenge.b.example.org.", Value: "2"}, {Name: "EXAMPLE.org.", Value: "A b;c"},
	})
	want := []inkan.TXT{
		{Name: "_acme-challenge.b.example.org.", Value: "1", TTL: 60}, {Name: "_acme-challenge.b.example.org.", Value: "2"},
		{Name: "example.org.", Value: "A b;c"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Check: %v\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"_acme-challenge.b.example.org.", "example.org."}, Names(got)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckRefuses(t *testing.T) {
	const zone = "example.org."
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		zone string
		r    inkan.TXT
		want string
	}{
		{"", inkan.TXT{Name: zone, Value: "v"}, "no name of a zone"},
		{".", inkan.TXT{Name: zone, Value: "v"}, "no name of a zone"},
		{"example.org", inkan.TXT{Name: zone, Value: "v"}, "no name of a zone"},
		{"../.", inkan.TXT{Name: zone, Value: "v"}, "no name of a zone"},
		{zone, inkan.TXT{Name: "example.org", Value: "v"}, "no absolute name"},
		{zone, inkan.TXT{Name: "a/b.example.org.", Value: "v"}, "no absolute name"},
		{zone, inkan.TXT{Name: "a b.example.org.", Value: "v"}, "no absolute name"},
		{zone, inkan.TXT{Name: long + ".example.org.", Value: "v"}, "no absolute name"},
		{zone, inkan.TXT{Name: strings.Repeat("a.", 125) + "example.org.", Value: "v"}, "no absolute name"},
		{zone, inkan.TXT{Name: "notexample.org.", Value: "v"}, "outside the zone"},
		{zone, inkan.TXT{Name: "org.", Value: "v"}, "outside the zone"},
		{zone, inkan.TXT{Name: zone}, "not 1 to 2048 characters"},
		{zone, inkan.TXT{Name: zone, Value: "a\r\nb"}, "not 1 to 2048 characters"},
		{zone, inkan.TXT{Name: zone, Value: strings.Repeat("v", MaxValue+1)}, "not 1 to 2048 characters"},
		{zone, inkan.TXT{Name: zone, Value: "v", TTL: -1}, "TTL"},
	} {
		_, _, err := Check(c.zone, []inkan.TXT{c.r})
		if !errors.Is(err, inkan.Operator) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Check(%q, %.60v) = %v; want %q", c.zone, c.r, err, c.want)
		}
	}
}

func TestLocks(t *testing.T) {
	var l Locks
	counts := map[string]int{"a": 0, "b": 0, "c": 0}
	var wg sync.WaitGroup
	for n := range 30 {
		keys := [][]string{{"a", "b"}, {"b", "c"}, {"a", "c"}, {"a", "b", "c"}}[n%4]
		wg.Go(func() {
			unlock, err := l.Lock(t.Context(), keys)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if keys[0] == "a" { // the race detector sees it if the lock does not hold
				counts["a"]++
			}
		})
	}
	wg.Wait()
	if counts["a"] != 22 || len(l.held) != 0 {
		t.Errorf("%d counted, %d locks left; want 22 and 0", counts["a"], len(l.held))
	}
}

func TestLockGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		unlock, err := l.Lock(t.Context(), []string{"b"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := l.Lock(ctx, []string{"a", "b"})
			failed <- err
		}()
		synctest.Wait() // it holds a and waits for b
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("Lock = %v; want context.Canceled", err)
		}
		again, err := l.Lock(t.Context(), []string{"a"}) // which it gave back
		if err != nil {
			t.Fatal(err)
		}
		again()
		unlock()
		if len(l.held) != 0 {
			t.Errorf("%d locks are left", len(l.held))
		}
	})
}
