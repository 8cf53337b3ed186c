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
// repeat after a crash has the same key. It names kind and certificate, so that a
// search need not read the other events. All that follows the day is one element: a
// directory for each event would cost a file store one more write for each.
func EventKey(e inkan.Event) string {
	return fmt.Sprintf("%s%s-%s_%s_%s", FamilyEvents, e.At.UTC().Truncate(time.Millisecond).Format(eventStamp), e.ID, e.Kind, nameInKey(e.Name))
}

// nameInKey is a name as it stands in the key of an event: an element of a key
// has room for 255 bytes, and a name may have 200.
func nameInKey(name string) string {
	const room = 150
	if len(name) <= room {
		return name
	}
	return name[:room-17] + "_" + Sum([]byte(name))[:16]
}

// eventInKey is what the key of an event says. Keys that were written before
// 2026-11-29 say only when: <time>-<id>.
type eventInKey struct {
	kind inkan.EventKind
	name string // see nameInKey
	old  bool   // only the value tells kind and certificate
}

func parseEventKey(key string) (e eventInKey, ok bool) {
	_, last, ok := strings.Cut(strings.TrimPrefix(key, FamilyEvents), "/")
	if !ok || strings.Contains(last, "/") || len(last) <= len("150405.000-") {
		return e, false
	}
	_, behind, _ := strings.Cut(last, "_")
	kind, name, ok := strings.Cut(behind, "_")
	if !ok || !slices.Contains(eventKinds, inkan.EventKind(kind)) {
		return eventInKey{old: true}, true
	}
	return eventInKey{kind: inkan.EventKind(kind), name: name}, true
}

// eventKinds are the kinds that a key may name. They tell such a key from an older
// one, in which the name of a target may stand at this place.
var eventKinds = []inkan.EventKind{inkan.EventIssued, inkan.EventFailed, inkan.EventDeployed, inkan.EventDeployFailed, inkan.EventRevoked,
	inkan.EventDeleted, inkan.EventSuperseded, inkan.EventDamaged, inkan.EventNoAdvice}

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

// mayTake reports whether an event with such a key may be wanted.
func (w Wanted) mayTake(in eventInKey) bool {
	return (w.Name == "" || nameInKey(w.Name) == in.name) && (len(w.Kinds) == 0 || slices.Contains(w.Kinds, in.kind))
}

// Events yields the wanted events from the instant since on, oldest first. It reads
// no other values, except those whose key does not tell kind and certificate.
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
			if !ok || !in.old && !want.mayTake(in) {
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
