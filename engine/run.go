package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Result is what became of one certificate in a run.
type Result struct {
	Name     string
	Issued   bool           // a new version was published
	Deployed []string       // targets that accepted a version
	Version  *inkan.Version // in force afterwards; nil if none
	Observed *Observed      // what is known afterwards; nil if it could not be read, and in large plans
	Waits    []Step         // the steps that are left, and until when they wait
	Err      error
	Next     time.Time // the earliest instant at which there is something to do; zero if none is known
	Took     time.Duration

	busy bool // another process works on it
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

// Run carries the plan out, for up to Workers certificates at once. A plan may be
// old: Run reads again what has changed and skips what is no longer needed. Names
// without a certificate come first, then the certificates that expire first. If the
// CAs say that the plan was made by a wrong clock, Run plans again by theirs. One
// certificate that fails does not stop the others. Certificates that another
// process works on come last: Run waits until their lease has moved or 65 s have
// passed.
func (m *Manager) Run(ctx context.Context, p *Plan) *Report {
	if m.askCAsForTime(ctx, p) {
		if again, err := m.Plan(ctx, p.Options); err == nil {
			p = again
		}
	}
	p.noteOutage()
	r := &Report{Results: make([]Result, len(p.Certificates))}
	acts := newActivations()
	var busy []int
	var mu sync.Mutex
	m.each(p.byUrgency(), func(i int) {
		r.Results[i] = m.work(ctx, &p.Certificates[i], p.Options, acts)
		if r.Results[i].busy {
			mu.Lock()
			defer mu.Unlock()
			busy = append(busy, i)
			return
		}
		m.tellDone(&r.Results[i], acts, false)
		p.keepSmall(&r.Results[i])
	})
	slices.Sort(busy)
	m.each(busy, func(i int) {
		m.workBusy(ctx, &p.Certificates[i], p.Options, acts, &r.Results[i])
		m.tellDone(&r.Results[i], acts, false)
		p.keepSmall(&r.Results[i])
	})
	acts.finish(ctx, m, r)
	m.tellPublished(ctx, r)
	for i := range r.Results {
		m.tellDone(&r.Results[i], acts, true)
	}
	return r
}

// keepSmall drops what was observed from a result of a large plan: a report of a
// million would hold them all.
func (p *Plan) keepSmall(res *Result) {
	if len(p.Certificates) > maxCarried {
		res.Observed = nil
	}
}

// tellDone reports the end of a certificate's work: at the end of the run for
// those that wait for an activation, at once for the others.
func (m *Manager) tellDone(res *Result, acts *activations, ended bool) {
	if m.Progress != nil && acts.waiting(res.Name, "") == ended {
		m.tell(Progress{Name: res.Name, Done: true, Err: res.Err})
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

// each calls do for each of the indexes, in their order, on a bounded number of
// goroutines.
func (m *Manager) each(indexes []int, do func(i int)) {
	var g errgroup.Group
	g.SetLimit(m.workers())
	for _, i := range indexes {
		g.Go(func() error { do(i); return nil })
	}
	_ = g.Wait() // never an error
}

const (
	// busyPause is how often a certificate that another process works on is looked at.
	busyPause = 200 * time.Millisecond
	// busyWait is how long it is waited for: a lease that does not move is dead by then.
	busyWait = leaseTTL + 5*time.Second
)

// workBusy does the work on a certificate that another process works on, once
// the lease is free or dead. It adds to res, which holds what was done before.
func (m *Manager) workBusy(ctx context.Context, c *CertificatePlan, opt PlanOptions, acts *activations, res *Result) {
	start := time.Now()
	tick := time.NewTicker(busyPause)
	defer tick.Stop()
	for {
		before := *res
		*res = m.work(ctx, c, opt, acts)
		res.Issued = res.Issued || before.Issued
		res.Deployed = append(before.Deployed, res.Deployed...)
		if !res.busy {
			return
		}
		if err := m.awaitLease(ctx, c.Name, start, tick.C); err != nil {
			res.Err = err
			if errors.Is(err, errBusy) {
				res.Err = inkan.Errorf(inkan.Pending, "certificate "+c.Name, "%w%s", errBusy, busyWords(res.Waits))
			}
			return
		}
	}
}

// awaitLease waits until the state of a certificate changes or its lease is dead;
// [errBusy] if neither happens in time. It reads one value at each look.
func (m *Manager) awaitLease(ctx context.Context, name string, start time.Time, tick <-chan time.Time) error {
	var first inkan.Rev
	for looks := 0; ; looks++ {
		if time.Since(start) > busyWait {
			return errBusy
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return ctx.Err()
		}
		st, err := state.Load[inkan.State](ctx, m.Store, state.StateKey(name))
		switch {
		case err != nil:
			return state.DamagedHint(err)
		case looks == 0:
			first = st.Rev
		}
		if m.holder(name, st.Value.Lease) != leaseHeld || st.Rev != first {
			return nil
		}
	}
}

// errBusy reports that another process works on a certificate.
var errBusy = errors.New("another process works on it")

func busyWords(waits []Step) string {
	if len(waits) == 0 {
		return ""
	}
	return ": " + waits[0].Reason
}
