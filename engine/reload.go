package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
)

// activations gathers the deployments of a run that share one activation: one
// reload for a hundred certificates.
type activations struct {
	mu    sync.Mutex
	byKey map[string]*activation
	names map[string]string // certificates that wait, each at its last target
}

type activation struct {
	act  inkan.Activator
	deps []*deployment
}

func newActivations() *activations {
	return &activations{byKey: map[string]*activation{}, names: map[string]string{}}
}

// waiting reports whether the certificate, at that target if one is named,
// waits for its activation.
func (a *activations) waiting(name, target string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.names[name] != "" && (target == "" || a.names[name] == target)
}

// drop returns the steps without the deployments that wait for their activation:
// the end of the run activates and records them.
func (a *activations) drop(name string, steps []Step) []Step {
	return slices.DeleteFunc(steps, func(s Step) bool { return s.Action == ActionDeploy && a.waiting(name, s.Target) })
}

func (a *activations) add(act inkan.Activator, d *deployment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names[d.o.Name] = d.target
	key := act.ActivationKey()
	if a.byKey[key] == nil {
		a.byKey[key] = &activation{act: act}
	}
	a.byKey[key].deps = append(a.byKey[key].deps, d)
}

// finish activates once for each key and records the outcome for every
// deployment that waited for it.
func (a *activations) finish(ctx context.Context, m *Manager, r *Report) {
	for _, key := range slices.Sorted(maps.Keys(a.byKey)) {
		group := a.byKey[key]
		cause := guard.Call("activating", func() error { return group.act.Activate(ctx) })
		for _, d := range group.deps {
			err := m.conclude(ctx, d, cause)
			i := slices.IndexFunc(r.Results, func(res Result) bool { return res.Name == d.o.Name })
			if err != nil {
				r.Results[i].Err = errors.Join(r.Results[i].Err, err)
			} else {
				r.Results[i].Deployed = append(r.Results[i].Deployed, d.target)
			}
		}
	}
}
