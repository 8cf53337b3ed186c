package engine

import (
	"cmp"
	"context"
	"slices"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// LastEvents returns the last n events of a certificate, oldest first. Its state
// names those of issuing; those of deploying are looked for among the events of
// the last week. A certificate whose state names none yet is looked for further
// back.
func (m *Manager) LastEvents(ctx context.Context, o *Observed, n int) ([]inkan.Event, error) {
	events, err := state.LoadEvents(ctx, m.Store, o.State.Recent)
	if err != nil {
		return events, err
	}
	spans := []int{7, 100, 4000}
	if len(o.State.Recent) > 0 {
		spans = spans[:1]
	}
	for _, days := range spans {
		for e, err := range state.Events(ctx, m.Store, m.now().AddDate(0, 0, -days), state.Wanted{Name: o.Name}) {
			if err != nil {
				return events, err
			}
			if !slices.ContainsFunc(events, func(have inkan.Event) bool { return state.EventKey(have) == state.EventKey(e) }) {
				events = append(events, e)
			}
		}
		if len(events) >= n {
			break
		}
	}
	slices.SortStableFunc(events, func(a, b inkan.Event) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return events[max(0, len(events)-n):], nil
}
