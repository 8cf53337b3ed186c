package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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

// maxDoubts bounds the CAs that are asked for the time.
const maxDoubts = 3

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

// CertificatePlan holds the steps of one certificate.
type CertificatePlan struct {
	Name  string
	Steps []Step
	Err   error // why it cannot be planned; the others can

	met, metHost []string  // due entries that led here
	expires      time.Time // of the version in force; zero if there is none
	silent       string    // the CA that gave no service at the last try
	afterOutage  bool      // many others wait for that CA too
}

// Actions reports whether anything but waiting is to be done.
func (c *CertificatePlan) Actions() bool {
	return c.Err != nil || slices.ContainsFunc(c.Steps, func(s Step) bool { return s.Action != ActionWait })
}

// Plan reads the Store and decides. Without names it looks only at what is due
// and at unfinished orders, so its cost does not grow with the number of
// certificates.
func (m *Manager) Plan(ctx context.Context, opt PlanOptions) (*Plan, error) {
	p := &Plan{At: m.now(), Options: opt}
	index := map[string]int{}
	add := func(name string) *CertificatePlan {
		i, ok := index[name]
		if !ok {
			i = len(p.Certificates)
			index[name] = i
			p.Certificates = append(p.Certificates, CertificatePlan{Name: name})
		}
		return &p.Certificates[i]
	}
	switch {
	case opt.All:
		for key, err := range m.Store.List(ctx, state.FamilyRequest, "") {
			if err != nil {
				return nil, fmt.Errorf("listing the certificates: %w", err)
			}
			add(strings.TrimPrefix(key, state.FamilyRequest))
		}
	case opt.Names != nil:
		for _, n := range opt.Names {
			if err := inkan.CheckName(n); err != nil {
				return nil, err
			}
			add(n)
		}
	default:
		if err := m.planDue(ctx, p.At, add); err != nil {
			return nil, err
		}
	}
	for i := range p.Certificates {
		c := &p.Certificates[i]
		o, err := m.observe(ctx, c.Name)
		if err != nil {
			c.Err = err
			continue
		}
		if c.Err = o.RequestErr; c.Err != nil {
			continue
		}
		if opt.Names != nil && o.Request == nil {
			c.Err = inkan.Errorf(inkan.Operator, "certificate "+c.Name, "there is none of this name").WithHint("inkan list shows all of them")
			continue
		}
		c.Steps = PlanCertificate(o, opt, p.At)
		if last := o.State.LastError; last != nil {
			c.silent = last.NoService
		}
		if o.Version != nil {
			c.expires = o.Version.ValidUntil()
			p.noteDoubt(o)
		}
	}
	return p, nil
}

// herd is how many certificates that wait for one CA are too many for its first
// seconds after an outage.
const herd = 6

// noteOutage marks the certificates whose CA gave no service at their last try,
// where they are many.
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
	if len(p.doubts) < maxDoubts && doubt(o, p.At) &&
		!slices.ContainsFunc(p.doubts, func(d inkan.Pair) bool { return d.CA == pair.CA }) {
		p.doubts = append(p.doubts, pair)
	}
}

// planDue adds what the heads of the due indexes and the unfinished orders
// name.
func (m *Manager) planDue(ctx context.Context, now time.Time, add func(string) *CertificatePlan) error {
	entries, err := state.DueUntil(ctx, m.Store, state.CertQueue, now)
	if err != nil {
		return err
	}
	for _, e := range entries {
		c := add(e.Name)
		c.met = append(c.met, e.Key)
	}
	if m.Host != nil {
		if entries, err = state.DueUntil(ctx, m.Host, state.HostQueue, now); err != nil {
			return err
		}
		for _, e := range entries {
			c := add(e.Name)
			c.metHost = append(c.metHost, e.Key)
		}
	}
	names, err := state.NamesWithOrders(ctx, m.Store)
	if err != nil {
		return err
	}
	for _, n := range names {
		add(n)
	}
	return nil
}

// errBusy reports that another process holds the lease.
var errBusy = errors.New("another process works on it")
