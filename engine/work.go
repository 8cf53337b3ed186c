package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
)

// outcome is how a step ended.
type outcome struct {
	published bool      // a new version is in force
	deployed  []string  // targets that accepted it
	after     *Observed // what there is now; nil: it is to be read again
	busy      bool      // another process works on it, which is no failure
	instead   string    // the way that is tried at once in place of what failed with err; "" if there is none
	err       error
}

// allowed is what may still be done for a certificate in this run.
type allowed struct {
	opt        PlanOptions // what is wanted besides what is due, and is not done yet
	deployOnly bool        // something failed: only deployments are left
}

// first returns the first step that is allowed; false if there is none but
// waiting.
func (may allowed) first(steps []Step) (Step, bool) {
	i := slices.IndexFunc(steps, func(s Step) bool {
		return s.Action != ActionWait && (!may.deployOnly || s.Action == ActionDeploy)
	})
	if i < 0 {
		return Step{}, false
	}
	return steps[i], true
}

// after returns what is allowed behind a step that ended like this. What was
// asked for is done once, and what failed is not tried again in the same run.
func (may allowed) after(s Step, out outcome) allowed {
	if out.instead != "" {
		return may // the same step in another way
	}
	switch s.Action {
	case ActionIssue, ActionRenew, ActionResume:
		may.opt.Renew, may.opt.ByPerson, may.opt.AskAdvice = false, false, false
	case ActionLook:
		may.opt.AskAdvice = false
	case ActionDeploy:
		may.opt.Redeploy = false
	}
	may.deployOnly = may.deployOnly || out.err != nil
	return may
}

// work does everything that can be done for one certificate now.
func (m *Manager) work(ctx context.Context, c *CertificatePlan, opt PlanOptions, acts *activations) (res Result) {
	start := time.Now()
	res.Name = c.Name
	defer func() { res.Took = time.Since(start) }()
	if c.Err != nil {
		res.Err = c.Err
		return res
	}
	may := allowed{opt: opt}
	var tried []error // what failed before the way that was taken at last
	o := c.observed   // the first write fails if somebody has moved state since
	c.observed = nil
	for ctx.Err() == nil {
		if o == nil {
			var err error
			if o, err = m.observe(ctx, c.Name); err == nil {
				err = o.RequestErr
			}
			if err != nil {
				res.Err = errors.Join(res.Err, err)
				return res
			}
		}
		res.Observed, res.Version = o, o.Version
		steps := acts.drop(c.Name, PlanCertificate(o, may.opt, m.now()))
		step, todo := may.first(steps)
		if !todo {
			m.rest(ctx, c, o, steps, acts, &res)
			return res
		}
		m.log().LogAttrs(ctx, logDecision, "step", logName(c.Name), logAction(step), logReason(step))
		out := m.take(ctx, c, o, step, steps, acts)
		res.Issued = res.Issued || out.published
		res.Deployed = append(res.Deployed, out.deployed...)
		may, o = may.after(step, out), out.after
		switch {
		case out.busy:
			res.busy = true
			return res
		case out.instead != "":
			m.log().Info("it failed, and another way is tried", logName(c.Name), logError(out.err), slog.String("next", out.instead))
			m.progress(c.Name, out.instead)
			tried = append(tried, out.err)
		case out.err != nil:
			res.Err = errors.Join(append(append([]error{res.Err}, tried...), out.err)...)
			tried = nil
			if step.Action == ActionDeploy {
				m.restAfterFailure(o, &res)
				return res
			}
		}
	}
	res.Err = errors.Join(res.Err, context.Cause(ctx))
	return res
}

// take takes one step. steps are all that are planned, for deployments, which
// are taken together.
func (m *Manager) take(ctx context.Context, c *CertificatePlan, o *Observed, s Step, steps []Step, acts *activations) outcome {
	switch s.Action {
	case ActionIssue, ActionRenew, ActionResume:
		m.noteDamage(ctx, o)
		return m.attempt(ctx, c, o, s)
	case ActionLook:
		return m.look(ctx, o)
	case ActionTidy:
		return m.removeLeftovers(ctx, o)
	case ActionDelete:
		busy, err := m.finishDelete(ctx, o)
		return outcome{busy: busy, err: err}
	case ActionDeploy:
		return m.deploy(ctx, c, o, steps, acts)
	}
	return outcome{err: inkan.Errorf(inkan.Bug, "certificate "+o.Name, "no step is called %q", s.Action)}
}

// rest ends the work when nothing but waiting is left: it says until when, and
// deletes the due entries that led here.
func (m *Manager) rest(ctx context.Context, c *CertificatePlan, o *Observed, waits []Step, acts *activations, res *Result) {
	res.Waits = waits
	if res.busy = slices.ContainsFunc(waits, func(s Step) bool { return s.busy }); res.busy {
		return
	}
	res.Next = earliest(waits)
	if !acts.waiting(c.Name, "") {
		res.Err = errors.Join(res.Err, m.deleteMetHostDue(ctx, c, o, res.Deployed))
	}
	res.Err = errors.Join(res.Err, m.deleteMetDue(ctx, c, o))
}

// restAfterFailure notes which steps wait after a deployment that failed, and until
// when. Its due entries stay.
func (m *Manager) restAfterFailure(o *Observed, res *Result) {
	if o == nil {
		return
	}
	res.Waits = PlanCertificate(o, PlanOptions{}, m.now())
	res.Next = earliest(res.Waits)
}

func earliest(steps []Step) time.Time {
	var at time.Time
	for _, s := range steps {
		if !s.At.IsZero() && (at.IsZero() || s.At.Before(at)) {
			at = s.At
		}
	}
	return at
}
