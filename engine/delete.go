package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Delete removes a certificate: its versions, hints and due entries. What is
// deployed stays where it is. Counters go on if the name returns.
func (m *Manager) Delete(ctx context.Context, name string) error {
	o, err := m.Observe(ctx, name)
	if err != nil {
		return err
	}
	if o.HeldBy != nil {
		return inkan.Errorf(inkan.Pending, "certificate "+name, "%w%s", errBusy, ownerWords(*o.HeldBy)).WithHint("try again when it is done")
	}
	_, err = state.Update(ctx, m.Store, state.RequestKey(name), func(r *inkan.RequestRecord, exists bool) error {
		if r.Deleted {
			return state.ErrUnchanged
		}
		r.Deleted = true
		r.Generation++
		if r.Name == "" {
			r.Name = name
		}
		return nil
	})
	if err != nil {
		return state.DamagedHint(err)
	}
	if o, err = m.observe(ctx, name); err != nil {
		return err
	}
	if busy, err := m.finishDelete(ctx, o); busy || err != nil {
		return errors.Join(err, errBusyIf(busy, name))
	}
	return nil
}

// errBusyIf is the error of a certificate that another process works on.
func errBusyIf(busy bool, name string) error {
	if !busy {
		return nil
	}
	return inkan.Errorf(inkan.Pending, "certificate "+name, "%w", errBusy).WithHint("try again when it is done")
}

// finishDelete does what follows the tombstone; it may be repeated. The due entry
// is deleted last, so that after a crash a later run does the rest.
func (m *Manager) finishDelete(ctx context.Context, o *Observed) (busy bool, err error) {
	// Write state and current first. Then a worker that is paused now can no longer
	// write state, and the larger n keeps it from publishing.
	ordering := len(o.journals) > 0
	st := inkan.State{Due: o.State.Due, NotBefore: o.State.NotBefore, Recent: o.State.Recent}
	if st.Due == "" {
		st.Due = state.DueKey(state.CertQueue, m.now(), o.Name)
		if err := state.PutDue(ctx, m.Store, st.Due); err != nil {
			return false, err
		}
	}
	if err := o.state.Save(ctx, m.Store, st); err != nil {
		return lost(err)
	}
	if len(o.Current.Pairs) > 0 || ordering {
		next := inkan.Current{N: o.Current.N + 1, Top: o.Current.Top, At: m.now().UTC()}
		if err := o.current.Save(ctx, m.Store, next); err != nil {
			return lost(err)
		}
	}
	for _, j := range o.journals {
		if err := m.removeOrder(ctx, j); err != nil {
			return false, inkan.Errorf(inkan.KindOf(err), "certificate "+o.Name, "removing the challenges of its order: %w", err)
		}
	}
	if err := m.deleteVersions(ctx, o.Name); err != nil {
		return false, err
	}
	at := o.current.Value.At
	if at.IsZero() {
		at = m.now() // nothing was ever published
	}
	id := fmt.Sprintf("deleted-%s-%d", state.Sum([]byte(o.Name))[:16], o.current.Value.N) // n alone is shared by many names
	e := inkan.Event{ID: id, At: at, Kind: inkan.EventDeleted, Name: o.Name}
	if err := state.WriteEvent(ctx, m.Store, e); err != nil {
		return false, err
	}
	due := st.Due
	st.Due = ""
	state.NoteEvent(&st, e)
	if err := o.state.Save(ctx, m.Store, st); err != nil {
		return lost(err)
	}
	if err := m.Store.Delete(ctx, due); err != nil {
		return false, fmt.Errorf("deleting %s: %w", due, err)
	}
	return false, nil
}

// lost tells a write that somebody else was faster with from one that failed.
func lost(err error) (busy bool, _ error) {
	if errors.Is(err, inkan.ErrConflict) {
		return true, nil
	}
	return false, err
}

// deleteVersions deletes the hints and then the values of all versions.
func (m *Manager) deleteVersions(ctx context.Context, name string) error {
	var keys, values []string
	for key, err := range m.Store.List(ctx, state.VersionsPrefix(name), "") {
		if err != nil {
			return fmt.Errorf("listing the versions of %s: %w", name, err)
		}
		values = append(values, key)
		if cv, err := state.Load[state.CertValue](ctx, m.Store, key); err == nil && strings.HasSuffix(key, "/cert") {
			for _, id := range cv.Value.Identifiers {
				keys = append(keys, state.NameIndexKey(id, name))
			}
		}
	}
	slices.Sort(keys)
	for _, key := range append(slices.Compact(keys), values...) {
		if err := m.Store.Delete(ctx, key); err != nil {
			return fmt.Errorf("deleting %s: %w", key, err)
		}
	}
	return nil
}
