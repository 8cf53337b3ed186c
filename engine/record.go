package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Record stores a request, so that every later run knows it. It reports whether
// that changed anything. If so, the certificate becomes due at once.
//
// The order of writes is due entry, state, request: a crash in between leaves an
// entry without a request, which has no effect and is deleted after a day.
func (m *Manager) Record(ctx context.Context, req inkan.CertificateRequest, origin string) (changed bool, err error) {
	return m.RecordFrom(ctx, req, origin, "")
}

// RecordFrom is [Manager.Record] for a request that comes from the configuration
// with the name source (see inkan.RequestRecord).
func (m *Manager) RecordFrom(ctx context.Context, req inkan.CertificateRequest, origin, source string) (changed bool, err error) {
	if err := req.Check(); err != nil {
		return false, err
	}
	m.identify(ctx)
	for {
		r, err := state.Load[inkan.RequestRecord](ctx, m.Store, state.RequestKey(req.Name))
		if err != nil {
			return false, state.DamagedHint(err)
		}
		if checkRecorded(req.Name, &r.Value) != nil {
			r.Value.CertificateRequest = inkan.CertificateRequest{} // it equals no request
		}
		next := inkan.RequestRecord{CertificateRequest: req, Origin: origin, Source: source, Generation: r.Value.Generation + 1}
		if r.Exists() && !r.Value.Deleted && !r.Value.Unmanaged && sameRequest(r.Value.CertificateRequest, req) && r.Value.Origin == origin && r.Value.Source == source {
			return false, nil
		}
		due := state.DueKey(state.CertQueue, m.now(), req.Name)
		if err := state.PutDue(ctx, m.Store, due); err != nil {
			return false, err
		}
		old, err := m.takeDue(ctx, req.Name, due)
		if err != nil {
			return false, errors.Join(err, m.Store.Delete(ctx, due))
		}
		if err = r.Save(ctx, m.Store, next); err != nil && !errors.Is(err, inkan.ErrConflict) {
			return false, err
		}
		m.deleteDue(ctx, m.Store, old) // ours is in force, whoever recorded the request
		if err == nil {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}

// identify makes sure that the Store has its id, once for all requests that this
// Manager records. Nothing here depends on it.
func (m *Manager) identify(ctx context.Context) {
	if m.identified.Load() {
		return
	}
	if _, err := state.Identify(ctx, m.Store, m.now()); err != nil {
		m.log().Warn("the id of the store could not be read", logError(err))
		return
	}
	m.identified.Store(true)
}

// takeDue makes due the entry in force and returns the one before.
func (m *Manager) takeDue(ctx context.Context, name, due string) (old string, err error) {
	_, err = state.Update(ctx, m.Store, state.StateKey(name), func(st *inkan.State, _ bool) error {
		old = st.Due
		st.Due = due
		st.Round = newRound(st.Round, m.now()) // what was tried was for another request
		if st.Attempts >= MaxAttempts {
			st.Attempts = 0 // a person changed something, so it is tried again
		}
		return nil
	})
	return old, state.DamagedHint(err)
}

func sameRequest(a, b inkan.CertificateRequest) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Request returns what is recorded under the name, or fs.ErrNotExist, or an
// error that wraps [ErrUnsoundRequest].
func (m *Manager) Request(ctx context.Context, name string) (*inkan.RequestRecord, error) {
	r, err := state.Load[inkan.RequestRecord](ctx, m.Store, state.RequestKey(name))
	if err != nil {
		return nil, state.DamagedHint(err)
	}
	if !r.Exists() || r.Value.Deleted {
		return nil, inkan.Errorf(inkan.Operator, "certificate "+name, "%w", errNoSuch).WithHint("inkan list shows all of them")
	}
	if err := checkRecorded(name, &r.Value); err != nil {
		return nil, err
	}
	return &r.Value, nil
}

// Unmanage marks a request that left the configuration file: its certificate
// is kept and served, but no longer renewed. Nothing is deleted.
func (m *Manager) Unmanage(ctx context.Context, name string) error {
	_, err := state.Update(ctx, m.Store, state.RequestKey(name), func(r *inkan.RequestRecord, exists bool) error {
		if !exists || r.Deleted || r.Unmanaged {
			return state.ErrUnchanged
		}
		r.Unmanaged = true
		r.Generation++
		return nil
	})
	return state.DamagedHint(err)
}

// Requests lists the recorded requests in the order of their names, without the
// deleted ones. The error names those that are damaged or cannot be used; the list
// holds the others.
func (m *Manager) Requests(ctx context.Context) ([]inkan.RequestRecord, error) {
	var all []inkan.RequestRecord
	var errs []error
	for key, err := range m.Store.List(ctx, state.FamilyRequest, "") {
		if err != nil {
			return all, fmt.Errorf("listing the certificates: %w", err)
		}
		r, err := state.Load[inkan.RequestRecord](ctx, m.Store, key)
		switch {
		case err != nil:
			errs = append(errs, state.DamagedHint(err))
		case r.Exists() && !r.Value.Deleted:
			if err := checkRecorded(strings.TrimPrefix(key, state.FamilyRequest), &r.Value); err != nil {
				errs = append(errs, err)
				continue
			}
			all = append(all, r.Value)
		}
	}
	return all, errors.Join(errs...)
}
