package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// deleteDue deletes entries that are not in force. An error is only logged: the
// run that meets the entry at its time deletes it.
func (m *Manager) deleteDue(ctx context.Context, s inkan.Store, keys ...string) {
	for _, key := range keys {
		if key == "" {
			continue
		}
		if err := s.Delete(ctx, key); err != nil {
			m.log().LogAttrs(ctx, slog.LevelWarn, "could not delete a due entry; the next run that reads it will", slog.String("key", key), logError(err))
		}
	}
}

// deleteMetDue deletes the due entries that led here and are not in force. It
// first writes state, so that the write of a paused process that relies on such an
// entry fails. It deletes nothing while an order is under way.
func (m *Manager) deleteMetDue(ctx context.Context, c *CertificatePlan, o *Observed) error {
	now := m.now()
	if len(c.due) == 0 || o.State.Running != "" || o.HeldBy != nil {
		return nil
	}
	if o.Request == nil {
		// Somebody may be recording the request just now.
		m.deleteStaleDue(ctx, c.due, now)
		return nil
	}
	st := o.State
	var old []string
	late := !o.Due.After(now) || farAhead(o.Due, now) // or missing, or of a wrong clock
	next := nextDue(o, now)
	switch {
	case late && next.IsZero():
		st.Due = ""
	case late: // what is due lies ahead now
		if !farAhead(st.NotBefore, now) {
			next = later(next, st.NotBefore)
		}
		st.Due = state.DueKey(state.CertQueue, next, o.Name)
		if err := state.PutDue(ctx, m.Store, st.Due); err != nil {
			return err
		}
		old = append(old, o.State.Due)
	}
	err := o.state.Save(ctx, m.Store, st)
	if errors.Is(err, inkan.ErrConflict) {
		return nil // somebody works on it and will meet the entries
	}
	if err != nil {
		return err
	}
	for _, key := range append(old, c.due...) {
		if key != st.Due {
			m.deleteDue(ctx, m.Store, key)
		}
	}
	return nil
}

// deleteStaleDue deletes entries without a request after a day.
func (m *Manager) deleteStaleDue(ctx context.Context, keys []string, now time.Time) {
	for _, key := range keys {
		if at, _, err := state.ParseDue(key, state.CertQueue); err == nil && now.Sub(at) > 24*time.Hour {
			m.deleteDue(ctx, m.Store, key)
		}
	}
}

// nextDue is the instant at which the certificate must be looked at again;
// zero if never.
func nextDue(o *Observed, now time.Time) time.Time {
	if o.Request == nil || o.Request.Deleted || o.Request.Unmanaged || o.foreign() {
		return time.Time{}
	}
	action, _, at := needIssue(o, PlanOptions{}, now)
	switch {
	case action == ActionWait && !at.IsZero():
		return at
	case action == ActionWait, o.State.Attempts >= MaxAttempts:
		return now.Add(24 * time.Hour) // nothing is done by itself, but it stays in sight
	}
	return now
}
