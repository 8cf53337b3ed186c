package cli

import (
	"context"
	"strings"

	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/term"
)

// follow tells what m does, unless nobody wants to see it.
func (a *app) follow(ctx context.Context, m *engine.Manager) *term.Progress {
	p := a.NewProgress(a.verbose > 0, func(step string) string {
		if target, ok := strings.CutPrefix(step, "deploying to "); ok {
			return "deploying: " + a.TargetTitle(ctx, target)
		}
		return a.InWords(ctx, step)
	})
	if !p.Shown {
		return p
	}
	m.Progress = func(e engine.Progress) {
		if e.Done {
			p.Finished(e.Name, e.Err)
		} else {
			p.Tell(e.Name, e.Step)
		}
	}
	return p
}
