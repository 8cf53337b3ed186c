package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
	"github.com/inkan-acme/inkan/internal/state"
)

// Observed is what the Store and the Host know of one certificate.
type Observed struct {
	Name       string
	Request    *inkan.RequestRecord // nil if there is none, or none that can be used
	RequestErr error                // why the recorded request cannot be used; wraps [ErrUnsoundRequest]
	State      inkan.State
	Due        time.Time    // of the due entry in force; zero if there is none
	HeldBy     *inkan.Owner // the process that works on it now, unless it is known to be dead
	Abandoned  bool         // a lease whose owner is dead
	Current    inkan.Current
	Version    *inkan.Version // nil if none is in force or it cannot be read
	VersionErr error          // why Version cannot be read
	Orders     []inkan.OrderRecord
	Targets    []ObservedTarget // in the order of the request

	state    state.Record[inkan.State]
	current  state.Record[inkan.Current]
	journals []*state.Journal
	before   *inkan.Version // what was in force until this run published; nil if nothing was, or it did not
}

// ObservedTarget is one target of the request as this machine knows it.
type ObservedTarget struct {
	Name     string
	Here     bool   // this machine deploys to it
	Options  string // digest of the target's options now
	Err      error  // why it cannot be opened
	Deployed inkan.Deployed
}

// observe reads everything about one certificate, state before the rest: whoever
// publishes in between has moved state since, so that a plan made of an older
// current loses at row 4 and orders nothing twice.
func (m *Manager) observe(ctx context.Context, name string) (*Observed, error) {
	o := &Observed{Name: name}
	st, err := state.Load[inkan.State](ctx, m.Store, state.StateKey(name))
	if err != nil {
		return nil, state.DamagedHint(err)
	}
	o.setState(st)
	switch m.holder(name, o.State.Lease) {
	case leaseHeld:
		o.HeldBy = &o.State.Lease.Owner
	case leaseDead:
		o.Abandoned = true
	}
	var reading errgroup.Group
	reading.Go(func() error { return m.observeVersion(ctx, o) })
	reading.Go(func() error { return m.observeOrders(ctx, o) })
	reading.Go(func() error { return m.observeRequest(ctx, o) })
	if err := reading.Wait(); err != nil {
		return nil, state.DamagedHint(err)
	}
	return o, nil
}

// setState makes a record the state of o.
func (o *Observed) setState(r state.Record[inkan.State]) {
	o.state, o.State = r, r.Value
	o.Due, _, _ = state.ParseDue(r.Value.Due, state.CertQueue) // zero without an entry
}

func (m *Manager) observeVersion(ctx context.Context, o *Observed) (err error) {
	if o.current, err = state.Load[inkan.Current](ctx, m.Store, state.CurrentKey(o.Name)); err != nil {
		return err
	}
	if o.Current = o.current.Value; len(o.Current.Pairs) == 0 {
		return nil
	}
	o.Version, err = state.LoadVersion(ctx, m.Store, o.Name, o.Current)
	if _, damaged := errors.AsType[*inkan.DamagedError](err); err != nil && !damaged {
		return err // a Store that fails now says nothing about the version
	}
	o.VersionErr = err
	return nil
}

func (m *Manager) observeOrders(ctx context.Context, o *Observed) (err error) {
	if o.journals, err = state.Journals(ctx, m.Store, o.Name); err != nil {
		return err
	}
	for _, j := range o.journals {
		o.Orders = append(o.Orders, j.Record())
	}
	return nil
}

// observeRequest reads the request, and what this machine knows of its targets.
func (m *Manager) observeRequest(ctx context.Context, o *Observed) error {
	r, err := state.Load[inkan.RequestRecord](ctx, m.Store, state.RequestKey(o.Name))
	if err != nil || !r.Exists() {
		return err
	}
	if o.RequestErr = checkRecorded(o.Name, &r.Value); o.RequestErr != nil {
		return nil
	}
	o.Request = &r.Value
	for _, name := range o.Request.Targets {
		if inkan.CheckName(name) != nil {
			continue // only in a tombstone, whose request is not checked
		}
		t := ObservedTarget{Name: name}
		switch target, err := m.target(ctx, name); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			t.Here, t.Err = true, err
		default:
			t.Here, t.Options = true, target.Options
		}
		if t.Here && m.Host != nil {
			d, err := state.Load[inkan.Deployed](ctx, m.Host, state.DeployedKey(name, o.Name))
			if err != nil {
				return err
			}
			t.Deployed = d.Value
		}
		o.Targets = append(o.Targets, t)
	}
	return nil
}

// target returns what this machine knows of a target of the request.
func (o *Observed) target(name string) *ObservedTarget {
	i := slices.IndexFunc(o.Targets, func(t ObservedTarget) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &o.Targets[i]
}

// published returns o as it is after cur has put v into force and only the
// journals in left remain.
func (o *Observed) published(cur state.Record[inkan.Current], v *inkan.Version, left []*state.Journal) *Observed {
	after := *o
	after.before = o.Version
	after.current, after.Current = cur, cur.Value
	after.Version, after.VersionErr = v, nil
	after.HeldBy, after.Abandoned = nil, false
	after.journals, after.Orders = left, nil
	for _, j := range left {
		after.Orders = append(after.Orders, j.Record())
	}
	after.Targets = slices.Clone(o.Targets)
	return &after
}

// ErrUnsoundRequest marks a recorded request that [inkan.CertificateRequest.Check]
// refuses, or that is for another certificate. Inkan never writes such a request.
var ErrUnsoundRequest = errors.New("the recorded request is not valid")

// checkRecorded checks a request that was read from the Store: somebody else may
// have written it (reliability H13).
func checkRecorded(name string, r *inkan.RequestRecord) error {
	if r.Deleted {
		return nil
	}
	err := r.Check()
	if err == nil && r.Name != name {
		err = fmt.Errorf("it is for %s", inkan.Printable(r.Name, 80))
	}
	if err == nil {
		return nil
	}
	return inkan.Errorf(inkan.Operator, "certificate "+name, "%w: %w", ErrUnsoundRequest, err).
		WithHint("ask for it again (inkan issue or inkan apply), and see who may write to the store; if a newer inkan wrote it, update this one")
}

func (m *Manager) target(ctx context.Context, name string) (*Target, error) {
	if m.Target == nil || m.Host == nil {
		return nil, fs.ErrNotExist
	}
	var t *Target
	err := guard.Call("target "+name, func() (err error) {
		t, err = m.Target(ctx, name)
		return err
	})
	if err == nil && t == nil {
		err = fs.ErrNotExist
	}
	return t, err
}

// errNoSuch is fs.ErrNotExist in the words of certificates.
var errNoSuch = noSuch{}

type noSuch struct{}

func (noSuch) Error() string { return "there is none of this name" }

// Is makes it an fs.ErrNotExist.
func (noSuch) Is(target error) bool { return target == fs.ErrNotExist }

// Observe returns everything that is known about one certificate, or
// fs.ErrNotExist if nothing is.
func (m *Manager) Observe(ctx context.Context, name string) (*Observed, error) {
	if err := inkan.CheckName(name); err != nil {
		return nil, err
	}
	o, err := m.observe(ctx, name)
	if err == nil && o.RequestErr == nil && (o.Request == nil || o.Request.Deleted) && len(o.Current.Pairs) == 0 {
		return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "%w", errNoSuch).WithHint("inkan list shows all of them")
	}
	return o, err
}

// InWork returns the certificates that have an order under way, or one that was
// left behind.
func (m *Manager) InWork(ctx context.Context) ([]string, error) {
	return state.NamesWithOrders(ctx, m.Store)
}
