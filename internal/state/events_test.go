package state

import (
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// TestEventKeys: who looks for the events of one certificate reads no others; of
// keys that do not tell, the value does.
func TestEventKeys(t *testing.T) {
	ctx, s := t.Context(), testkit.New()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	long, longer := strings.Repeat("n", 199)+"a", strings.Repeat("n", 199)+"b"
	for i, name := range []string{"a.example", "_b_c", long, longer} {
		for j, kind := range eventKinds {
			must(t, WriteEvent(ctx, s, inkan.Event{ID: "x", At: at.Add(time.Duration(i*10+j) * time.Second), Kind: kind, Name: name}))
		}
	}
	old := inkan.Event{ID: "x-my_web-1-1", At: at.Add(time.Hour), Kind: inkan.EventDeployed, Name: "a.example"}
	_, err := CreateOnce(ctx, s, "events/20261101/130000.000-x-my_web_2-1-1", old, "w")
	must(t, err)
	old.Kind, old.At = inkan.EventFailed, at.Add(2*time.Hour)
	_, err = CreateOnce(ctx, s, "events/20261101/140000.000-x-1", old, "w")
	must(t, err)
	for _, c := range []struct {
		want  Wanted
		found int
		gets  int
	}{
		{Wanted{}, 4*len(eventKinds) + 2, 4*len(eventKinds) + 2},
		{Wanted{Name: "_b_c"}, len(eventKinds), len(eventKinds) + 2},
		{Wanted{Name: long}, len(eventKinds), len(eventKinds) + 2},
		{Wanted{Name: "a.example", Kinds: []inkan.EventKind{inkan.EventFailed}}, 2, 3},
		{Wanted{Name: "none"}, 0, 2},
	} {
		found, before := 0, s.Count(&s.Gets)
		for e, err := range Events(ctx, s, time.Time{}, c.want) {
			must(t, err)
			if c.want.Name != "" && e.Name != c.want.Name {
				t.Errorf("%+v: an event of %s", c.want, e.Name)
			}
			found++
		}
		if gets := s.Count(&s.Gets) - before; found != c.found || gets != c.gets {
			t.Errorf("%+v: %d events, %d values were read; want %d, %d", c.want, found, gets, c.found, c.gets)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
