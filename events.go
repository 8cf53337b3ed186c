package inkan

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
)

// writeEvent creates the event. Its key is made of the fact's own time and id,
// so that a repeat after a crash is the same key.
func writeEvent(ctx context.Context, s Store, e Event) error {
	e.At = e.At.UTC().Truncate(time.Millisecond)
	return keep(ctx, s, eventKey(e.At, e.ID), e, e.ID)
}

// Events yields the events from the instant since on, oldest first.
func Events(ctx context.Context, s Store, since time.Time) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		after := ""
		if !since.IsZero() {
			after = eventKey(since, "")
			after = strings.TrimSuffix(after, "-")
		}
		for key, err := range s.List(ctx, eventsPrefix, after) {
			if err != nil {
				yield(Event{}, fmt.Errorf("listing the events: %w", err))
				return
			}
			r, err := load[Event](ctx, s, key)
			if err == nil && !r.exists() {
				continue // pruned meanwhile
			}
			if !yield(r.v, err) {
				return
			}
		}
	}
}
