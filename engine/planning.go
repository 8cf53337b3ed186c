package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Plan is what would be done, certificate by certificate.
type Plan struct {
	At           time.Time
	Options      PlanOptions
	Certificates []CertificatePlan

	doubts []inkan.Pair // whose CAs may be asked whether the clock is right; one for each CA, a few at most
}

const (
	// maxDoubts bounds the CAs that are asked for the time.
	maxDoubts = 3
	// readers bounds the certificates that are read at once.
	readers = 32
	// maxCarried bounds the observations that a plan hands to the run: those of a
	// large plan would fill the memory before the first order is made.
	maxCarried = 256
	// herd is how many certificates must wait for one CA before their requests are
	// spread over its first seconds after an outage.
	herd = 6
)

// CertificatePlan holds the steps of one certificate.
type CertificatePlan struct {
	Name  string
	Steps []Step
	Err   error // why it cannot be planned; the others can

	observed    *Observed // what the steps rest on; nil if it is to be read again
	due         []string  // entries of the due index of the Store that led here
	hostDue     []string  // the same of the Host, and those that this run put there
	expires     time.Time // of the version in force; zero if there is none
	silent      string    // the CA that gave no service at the last try
	afterOutage bool      // many others wait for that CA too
}

// Actions reports whether anything but waiting is to be done.
func (c *CertificatePlan) Actions() bool {
	return c.Err != nil || slices.ContainsFunc(c.Steps, func(s Step) bool { return s.Action != ActionWait })
}

// Plan reads the Store and decides. The scope [Due] looks only at what is due
// and at unfinished orders, so its cost does not grow with the number of
// certificates.
func (m *Manager) Plan(ctx context.Context, opt PlanOptions) (*Plan, error) {
	p := &Plan{At: m.now(), Options: opt}
	if err := m.scope(ctx, p); err != nil {
		return nil, err
	}
	var reading errgroup.Group
	reading.SetLimit(readers)
	for i := range p.Certificates {
		reading.Go(func() error {
			p.Certificates[i].plan(ctx, m, p)
			return nil // of one certificate; the others can be planned
		})
	}
	_ = reading.Wait() // never an error
	for i := range p.Certificates {
		c := &p.Certificates[i]
		if c.observed != nil && c.observed.Version != nil {
			p.noteDoubt(c.observed)
		}
		if len(p.Certificates) > maxCarried {
			c.observed = nil
		}
	}
	return p, nil
}

// scope fills in the certificates that the plan is for.
func (m *Manager) scope(ctx context.Context, p *Plan) error {
	scope := p.Options.Scope
	for _, name := range scope.names {
		if err := inkan.CheckName(name); err != nil {
			return err
		}
	}
	if scope.IsDue() {
		return m.planDue(ctx, p)
	}
	names := scope.names
	if scope.all {
		var err error
		if names, err = m.Names(ctx); err != nil {
			return err
		}
	}
	place := p.places()
	for _, name := range names {
		place(name)
	}
	return nil
}

// places returns a function that finds the place of a certificate in the plan,
// and makes it one at the end if it has none.
func (p *Plan) places() func(name string) *CertificatePlan {
	index := map[string]int{}
	return func(name string) *CertificatePlan {
		i, ok := index[name]
		if !ok {
			i = len(p.Certificates)
			index[name] = i
			p.Certificates = append(p.Certificates, CertificatePlan{Name: name})
		}
		return &p.Certificates[i]
	}
}

// Names lists the certificates that anything is recorded for, deleted ones
// included, in their order.
func (m *Manager) Names(ctx context.Context) ([]string, error) {
	var names []string
	for key, err := range m.Store.List(ctx, state.FamilyRequest, "") {
		if err != nil {
			return nil, fmt.Errorf("listing the certificates: %w", err)
		}
		names = append(names, strings.TrimPrefix(key, state.FamilyRequest))
	}
	return names, nil
}

// planDue adds what the heads of the due indexes and the unfinished orders
// name.
func (m *Manager) planDue(ctx context.Context, p *Plan) error {
	entries, err := state.DueUntil(ctx, m.Store, state.CertQueue, p.At)
	if err != nil {
		return err
	}
	place := p.places()
	for _, e := range entries {
		c := place(e.Name)
		c.due = append(c.due, e.Key)
	}
	if m.Host != nil {
		if entries, err = state.DueUntil(ctx, m.Host, state.HostQueue, p.At); err != nil {
			return err
		}
		for _, e := range entries {
			c := place(e.Name)
			c.hostDue = append(c.hostDue, e.Key)
		}
	}
	names, err := state.NamesWithOrders(ctx, m.Store)
	if err != nil {
		return err
	}
	for _, n := range names {
		place(n)
	}
	return nil
}

// plan reads one certificate and decides.
func (c *CertificatePlan) plan(ctx context.Context, m *Manager, p *Plan) {
	o, err := m.observe(ctx, c.Name)
	switch {
	case err != nil:
		c.Err = err
		return
	case o.RequestErr != nil:
		c.Err = o.RequestErr
		return
	case p.Options.DeployOnly && o.VersionErr != nil:
		c.Err = state.DamagedHint(o.VersionErr) // there is nothing to deploy, which is not that all is done
		return
	case o.Request == nil && p.Options.Scope.names != nil:
		c.Err = inkan.Errorf(inkan.Operator, "certificate "+c.Name, "there is none of this name").WithHint("inkan list shows all of them")
		return
	}
	c.observed, c.Steps = o, PlanCertificate(o, p.Options, p.At)
	if last := o.State.LastError; last != nil {
		c.silent = last.NoService
	}
	if o.Version != nil {
		c.expires = o.Version.ValidUntil()
	}
}

// byUrgency returns the indexes of the certificates in the order in which they
// are worked on: those without a certificate, then by expiry.
func (p *Plan) byUrgency() []int {
	order := make([]int, len(p.Certificates))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return p.Certificates[i].expires.Compare(p.Certificates[j].expires) })
	return order
}

// noteOutage marks the certificates whose CA gave no service at their last try, if
// at least herd of them wait for it.
func (p *Plan) noteOutage() {
	waiting := map[string]int{}
	for i := range p.Certificates {
		waiting[p.Certificates[i].silent]++
	}
	for i := range p.Certificates {
		c := &p.Certificates[i]
		c.afterOutage = c.silent != "" && waiting[c.silent] >= herd
	}
}

// noteDoubt remembers whom to ask for the time.
func (p *Plan) noteDoubt(o *Observed) {
	pair := o.Version.Pairs[0]
	if len(p.doubts) < maxDoubts && suspicious(o, p.At) &&
		!slices.ContainsFunc(p.doubts, func(d inkan.Pair) bool { return d.CA == pair.CA }) {
		p.doubts = append(p.doubts, pair)
	}
}
