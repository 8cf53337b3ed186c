package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/inkan-acme/inkan"
)

// Result is what became of one certificate in a run.
type Result struct {
	Name     string
	Issued   bool           // a new version was published
	Deployed []string       // targets that accepted a version
	Version  *inkan.Version // in force afterwards; nil if none
	Waits    []Step         // what is left, and when
	Err      error
	Next     time.Time // the earliest instant at which there is something to do; zero if none is known
	Took     time.Duration
}

// Changed reports whether the run changed anything that users see.
func (r *Result) Changed() bool { return r.Issued || len(r.Deployed) > 0 }

// Report is what a run did, in the order of the plan.
type Report struct{ Results []Result }

// Err joins the errors of all certificates.
func (r *Report) Err() error {
	var errs []error
	for i := range r.Results {
		errs = append(errs, r.Results[i].Err)
	}
	return errors.Join(errs...)
}

// Run carries the plan out, up to Workers certificates at once. It looks at
// the Store again before each step, so a plan may be old: what is no longer
// needed is not done. What has no certificate and what expires first come
// first. A plan made by a wrong clock is made anew by the CA's. One certificate
// that fails does not stop the others. Certificates that another process works
// on come last, and are waited for until their lease has moved or 65 s have
// passed.
func (m *Manager) Run(ctx context.Context, p *Plan) *Report {
	if m.secondOpinion(ctx, p) {
		if again, err := m.Plan(ctx, p.Options); err == nil {
			p = again
		}
	}
	p.noteOutage()
	r := &Report{Results: make([]Result, len(p.Certificates))}
	acts := newActivations()
	var busy []int
	var mu sync.Mutex
	urgent := p.byUrgency()
	m.each(len(urgent), func(k int) {
		i := urgent[k]
		r.Results[i] = m.work(ctx, &p.Certificates[i], p.Options, acts)
		if errors.Is(r.Results[i].Err, errBusy) {
			mu.Lock()
			busy = append(busy, i)
			mu.Unlock()
			return
		}
		m.tellDone(&r.Results[i], acts, false)
	})
	slices.Sort(busy)
	m.each(len(busy), func(k int) {
		i := busy[k]
		r.Results[i] = m.workBusy(ctx, &p.Certificates[i], p.Options, acts)
		m.tellDone(&r.Results[i], acts, false)
	})
	acts.finish(ctx, m, r)
	m.tellPublished(ctx, r)
	for i := range r.Results {
		m.tellDone(&r.Results[i], acts, true)
	}
	return r
}

// tellDone reports the end of a certificate's work: at the end of the run for
// those that wait for an activation, at once for the others.
func (m *Manager) tellDone(res *Result, acts *activations, ended bool) {
	if m.Progress != nil && acts.waiting(res.Name, "") == ended {
		m.Progress(Progress{Name: res.Name, Done: true, Err: res.Err})
	}
}

// tellPublished tells whoever serves what a run published.
func (m *Manager) tellPublished(ctx context.Context, r *Report) {
	var names []string
	for i := range r.Results {
		if r.Results[i].Issued {
			names = append(names, r.Results[i].Name)
		}
	}
	if len(names) > 0 && m.Published != nil {
		m.Published(context.WithoutCancel(ctx), names)
	}
}

// each calls do for 0..n-1 on a bounded number of goroutines.
func (m *Manager) each(n int, do func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, m.workers()) {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// workBusy waits for a lease that somebody else holds: until it is free, dead,
// or has moved without an end for ttl + 5 s.
func (m *Manager) workBusy(ctx context.Context, c *CertificatePlan, opt PlanOptions, acts *activations) Result {
	start := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		res := m.work(ctx, c, opt, acts)
		if !errors.Is(res.Err, errBusy) {
			return res
		}
		if time.Since(start) > leaseTTL+5*time.Second {
			res.Err = inkan.Errorf(inkan.Pending, "certificate "+c.Name, "%w%s", errBusy, busyWords(res.Waits))
			return res
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			res.Err = ctx.Err()
			return res
		}
	}
}

func busyWords(waits []Step) string {
	if len(waits) == 0 {
		return ""
	}
	return ": " + waits[0].Reason
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
	dead := false      // issuing failed: only deployments are left to do
	var failed []error // what was tried before the way that was taken
	for ctx.Err() == nil {
		o, err := m.observe(ctx, c.Name)
		if err != nil {
			res.Err = errors.Join(res.Err, err)
			return res
		}
		if o.RequestErr != nil {
			res.Err = errors.Join(res.Err, o.RequestErr)
			return res
		}
		now := m.now()
		res.Version = o.Version
		steps := PlanCertificate(o, opt, now)
		steps = slices.DeleteFunc(steps, func(s Step) bool { // the end of the run activates and records them
			return s.Action == ActionDeploy && acts.waiting(c.Name, s.Target)
		})
		i := slices.IndexFunc(steps, func(s Step) bool {
			return s.Action != ActionWait && (!dead || s.Action == ActionDeploy)
		})
		if i < 0 {
			res.Waits = steps
			for _, s := range steps {
				if s.busy {
					res.Err = errBusy
					return res
				}
				if !s.At.IsZero() && (res.Next.IsZero() || s.At.Before(res.Next)) {
					res.Next = s.At
				}
			}
			if !acts.waiting(c.Name, "") {
				res.Err = errors.Join(res.Err, m.tidyHostDue(ctx, c, o, res.Deployed))
			}
			res.Err = errors.Join(res.Err, m.tidyDue(ctx, c, o, now))
			return res
		}
		s := steps[i]
		m.log().LogAttrs(ctx, logDecision, "step", logName(c.Name), logAction(s), logReason(s))
		switch s.Action {
		case ActionIssue, ActionRenew, ActionResume:
			m.noteDamage(ctx, o)
			var published bool
			published, err = m.attempt(ctx, c, o, s)
			res.Issued = res.Issued || published
			if next, ok := errors.AsType[*errAlternative](err); ok {
				m.log().Info("it failed, and another way is tried", logName(c.Name), logError(next.error), slog.String("next", next.reason))
				m.progress(c.Name, next.reason)
				failed = append(failed, next.error)
				continue
			}
			opt.Force, opt.Asked, opt.Advice = false, false, false
			if dead = err != nil; dead {
				res.Err = errors.Join(append([]error{res.Err}, failed...)...)
			}
		case ActionLook:
			err = m.look(ctx, o)
			opt.Advice = false
			dead = err != nil // it would be asked again and again
		case ActionTidy:
			err = m.tidy(ctx, o)
			dead = err != nil
		case ActionDelete:
			err = m.finishDelete(ctx, o)
			dead = err != nil
		case ActionDeploy:
			var done []string
			done, err = m.deploy(ctx, c, o, steps[i:], opt, acts)
			res.Deployed = append(res.Deployed, done...)
			opt.Redeploy = false
			if err != nil {
				opt.DeployOnly, opt.Asked = true, false
				res.Err = errors.Join(res.Err, err)
				o2, err2 := m.observe(ctx, c.Name)
				if err2 == nil {
					res.Version = o2.Version
					res.Waits = PlanCertificate(o2, PlanOptions{}, m.now())
					res.Next = earliest(res.Waits)
				}
				return res
			}
		}
		if errors.Is(err, errBusy) {
			res.Err = errBusy
			return res
		}
		if err != nil {
			res.Err = errors.Join(res.Err, err)
		}
	}
	res.Err = errors.Join(res.Err, context.Cause(ctx))
	return res
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
