package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Observed is what the Store and the Host know of one certificate.
type Observed struct {
	Name       string
	Request    *inkan.RequestRecord // nil if there is none, or none that can be followed
	RequestErr error                // why what is recorded cannot be followed; wraps [ErrUnsoundRequest]
	State      inkan.State
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
}

// ObservedTarget is one target of the request as this machine knows it.
type ObservedTarget struct {
	Name     string
	Here     bool   // this machine deploys to it
	Options  string // digest of the target's options now
	Err      error  // why it cannot be opened
	Deployed inkan.Deployed
}

// observe reads everything about one certificate, state before current: whoever
// publishes in between has moved state since, so that a plan made of an older
// current loses at row 4 and orders nothing twice.
func (m *Manager) observe(ctx context.Context, name string) (*Observed, error) {
	o := &Observed{Name: name}
	var err error
	if o.state, err = state.Load[inkan.State](ctx, m.Store, state.StateKey(name)); err != nil {
		return nil, state.DamagedHint(err)
	}
	if o.current, err = state.Load[inkan.Current](ctx, m.Store, state.CurrentKey(name)); err != nil {
		return nil, state.DamagedHint(err)
	}
	if o.journals, err = state.Journals(ctx, m.Store, name); err != nil {
		return nil, state.DamagedHint(err)
	}
	request, err := state.Load[inkan.RequestRecord](ctx, m.Store, state.RequestKey(name))
	if err != nil {
		return nil, state.DamagedHint(err)
	}
	o.Current, o.State = o.current.Value, o.state.Value
	if request.Exists() {
		if o.RequestErr = checkRecorded(name, &request.Value); o.RequestErr == nil {
			o.Request = &request.Value
		}
	}
	for _, j := range o.journals {
		o.Orders = append(o.Orders, j.Record())
	}
	switch m.holderOf(name, o.State.Lease) {
	case leaseHeld:
		o.HeldBy = &o.State.Lease.Owner
	case leaseDead:
		o.Abandoned = true
	}
	if len(o.Current.Pairs) > 0 {
		o.Version, err = state.LoadVersion(ctx, m.Store, name, o.Current)
		if _, damaged := errors.AsType[*inkan.DamagedError](err); err != nil && !damaged {
			return nil, err // a Store that fails now says nothing about the version
		}
		o.VersionErr = err
	}
	if o.Request == nil {
		return o, nil
	}
	for _, t := range o.Request.Targets {
		if inkan.CheckName(t) != nil {
			continue // of a tombstone: nobody looks what was asked for once
		}
		ot := ObservedTarget{Name: t}
		target, err := m.target(ctx, t)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			ot.Here, ot.Err = true, err
		default:
			ot.Here, ot.Options = true, target.Options
		}
		if ot.Here && m.Host != nil {
			d, err := state.Load[inkan.Deployed](ctx, m.Host, state.DeployedKey(t, name))
			if err != nil {
				return nil, state.DamagedHint(err)
			}
			ot.Deployed = d.Value
		}
		o.Targets = append(o.Targets, ot)
	}
	return o, nil
}

// ErrUnsoundRequest marks a recorded request that [inkan.CertificateRequest.Check]
// does not let pass, or that is for another certificate: Inkan does not write
// such a one.
var ErrUnsoundRequest = errors.New("what is recorded as asked for cannot be")

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
	t, err := m.Target(ctx, name)
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
