package state

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// eventStamp orders events by the instant of the fact, to the millisecond.
const eventStamp = "20060102/150405.000"

// EventKey is the key of an event. It is made of the fact alone, so that a
// repeat after a crash is the same key. Kind and certificate stand in it, so that
// who looks for some events need not read the others.
func EventKey(e inkan.Event) string {
	return fmt.Sprintf("%s%s/%s/%s/%s", FamilyEvents, e.At.UTC().Truncate(time.Millisecond).Format(eventStamp), e.ID, e.Kind, e.Name)
}

// eventInKey is what the key of an event says. Keys that were written before
// 2026-11-29 say only when: <time>-<id>.
type eventInKey struct {
	kind inkan.EventKind
	name string
	old  bool
}

func parseEventKey(key string) (e eventInKey, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, FamilyEvents), "/")
	switch len(parts) {
	case 2:
		return eventInKey{old: true}, len(parts[1]) > len("150405.000-")
	case 5:
		return eventInKey{kind: inkan.EventKind(parts[3]), name: parts[4]}, true
	}
	return e, false
}

// WriteEvent creates the event at [EventKey].
func WriteEvent(ctx context.Context, s inkan.Store, e inkan.Event) error {
	e.At = e.At.UTC().Truncate(time.Millisecond)
	_, err := CreateOnce(ctx, s, EventKey(e), e, e.ID)
	return err
}

// Wanted says which events are looked for. The zero value wants all.
type Wanted struct {
	Name  string            // of the certificate; "" any
	Kinds []inkan.EventKind // empty: any
}

func (w Wanted) takes(kind inkan.EventKind, name string) bool {
	return (w.Name == "" || w.Name == name) && (len(w.Kinds) == 0 || slices.Contains(w.Kinds, kind))
}

// Events yields the events from the instant since on that are wanted, oldest
// first. It reads no other value, but for those whose key does not tell.
func Events(ctx context.Context, s inkan.Store, since time.Time, want Wanted) iter.Seq2[inkan.Event, error] {
	return func(yield func(inkan.Event, error) bool) {
		after := ""
		if !since.IsZero() {
			after = FamilyEvents + since.UTC().Format(eventStamp)
		}
		for key, err := range s.List(ctx, FamilyEvents, after) {
			if err != nil {
				yield(inkan.Event{}, fmt.Errorf("listing the events: %w", err))
				return
			}
			in, ok := parseEventKey(key)
			if !ok || !in.old && !want.takes(in.kind, in.name) {
				continue
			}
			r, err := Load[inkan.Event](ctx, s, key)
			if err == nil && (!r.Exists() || !want.takes(r.Value.Kind, r.Value.Name)) {
				continue // pruned meanwhile, or of somebody else
			}
			if !yield(r.Value, err) {
				return
			}
		}
	}
}

// recentKept is how many keys of events a certificate's state keeps.
const recentKept = 8

// NoteEvent puts the key of an event into the state of its certificate, which
// is about to be written anyway: who shows the certificate then finds its last
// events without a search.
func NoteEvent(st *inkan.State, e inkan.Event) {
	key := EventKey(e)
	if slices.Contains(st.Recent, key) {
		return
	}
	recent := append(slices.Clone(st.Recent), key)
	st.Recent = recent[max(0, len(recent)-recentKept):]
}

// LoadEvents reads the events at these keys, oldest first. Those that are gone
// are left out.
func LoadEvents(ctx context.Context, s inkan.Store, keys []string) ([]inkan.Event, error) {
	var events []inkan.Event
	for _, key := range slices.Sorted(slices.Values(keys)) {
		if _, ok := parseEventKey(key); !ok || !strings.HasPrefix(key, FamilyEvents) || inkan.CheckKey(key) != nil {
			continue // somebody else wrote the state
		}
		r, err := Load[inkan.Event](ctx, s, key)
		if err != nil {
			return events, err
		}
		if r.Exists() {
			events = append(events, r.Value)
		}
	}
	return events, nil
}
