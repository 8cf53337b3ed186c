package engine

import (
	"context"
	"time"
)

// The bounds of how long [Manager.Maintain] sleeps: not so short that a fault
// becomes a storm, not so long that a new certificate of another process waits.
const (
	keepSoonest = 10 * time.Second
	keepLatest  = time.Hour
)

// Maintain does for ever what `inkan renew` does once: it runs what is due, then
// sleeps until something is due again, an hour at most. What it did, or why it
// could not plan, goes to done, which may be nil. It returns when ctx ends. Maintain
// suits a program that serves its own certificates; beside it run
// serve.Certificates.Watch.
func (m *Manager) Maintain(ctx context.Context, done func(*Report, error)) error {
	for {
		report, err := &Report{}, error(nil)
		var p *Plan
		if p, err = m.Plan(ctx, PlanOptions{}); err == nil {
			report = m.Run(ctx, p)
		}
		if done != nil && ctx.Err() == nil {
			done(report, err)
		}
		wait := time.NewTimer(m.nextLook(report))
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
	}
}

// nextLook is how long Maintain sleeps after a run.
func (m *Manager) nextLook(r *Report) time.Duration {
	left := keepLatest
	now := m.now()
	for i := range r.Results {
		if next := r.Results[i].Next; !next.IsZero() {
			left = min(left, next.Sub(now))
		}
	}
	return max(left, keepSoonest)
}
