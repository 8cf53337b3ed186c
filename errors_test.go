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
