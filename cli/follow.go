package cli

import (
	"context"
	"strings"

	"github.com/inkan-acme/inkan/engine"
)

// follow tells what m does, unless nobody wants to see it.
func (a *app) follow(ctx context.Context, m *engine.Manager) *progress {
	p := a.newProgress(a.verbose > 0, func(step string) string {
		if target, ok := strings.CutPrefix(step, "deploying to "); ok {
			return "deploying: " + a.targetTitle(ctx, target)
		}
		return a.inWords(ctx, step)
	})
	if !p.shown {
		return p
	}
	m.Progress = func(e engine.Progress) {
		if e.Done {
			p.finished(e.Name, e.Err)
		} else {
			p.tell(e.Name, e.Step)
		}
	}
	return p
}
