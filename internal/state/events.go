package state

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
)

// WriteEvent creates the event. Its key is made of the fact's own time and id,
// so that a repeat after a crash is the same key.
func WriteEvent(ctx context.Context, s inkan.Store, e inkan.Event) error {
	e.At = e.At.UTC().Truncate(time.Millisecond)
	return CreateOnce(ctx, s, eventKey(e.At, e.ID), e, e.ID)
}

// Events yields the events from the instant since on, oldest first.
func Events(ctx context.Context, s inkan.Store, since time.Time) iter.Seq2[inkan.Event, error] {
	return func(yield func(inkan.Event, error) bool) {
		after := ""
		if !since.IsZero() {
			after = eventKey(since, "")
			after = strings.TrimSuffix(after, "-")
		}
		for key, err := range s.List(ctx, EventsPrefix, after) {
			if err != nil {
				yield(inkan.Event{}, fmt.Errorf("listing the events: %w", err))
				return
			}
			r, err := Load[inkan.Event](ctx, s, key)
			if err == nil && !r.Exists() {
				continue // pruned meanwhile
			}
			if !yield(r.Value, err) {
				return
			}
		}
	}
}
