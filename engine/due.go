package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// dropDue deletes entries that are not in force. One that cannot be deleted is
// met when its time comes and deleted then: no reason for work that is done to
// count as failed.
func (m *Manager) dropDue(ctx context.Context, s inkan.Store, keys ...string) {
	for _, key := range keys {
		if key == "" {
			continue
		}
		if err := s.Delete(ctx, key); err != nil {
			m.log().LogAttrs(ctx, slog.LevelWarn, "a due entry could not be deleted; it is when it is met again", slog.String("key", key), logError(err))
		}
	}
}

// tidyDue deletes the due entries that led here and are not in force. It first
// touches state, so that a paused writer who counts on such an entry loses its
// own write; and it leaves them while something runs.
func (m *Manager) tidyDue(ctx context.Context, c *CertificatePlan, o *Observed, now time.Time) error {
	if len(c.met) == 0 || o.State.Running != "" || o.HeldBy != nil {
		return nil
	}
	if o.Request == nil {
		// Somebody may be recording the request just now.
		m.dropOldEntries(ctx, c.met, now)
		return nil
	}
	st := o.State
	var dropped []string
	// The entry in force is late, missing or of a wrong clock: what is due lies
	// ahead now.
	next := m.nextDue(o, now)
	if at, _, err := state.ParseDue(st.Due, state.CertQueue); err != nil || !at.After(now) || state.FarAhead(at, now) {
		if next.IsZero() {
			st.Due = ""
		} else {
			if !state.FarAhead(st.NotBefore, now) {
				next = later(next, st.NotBefore)
			}
			st.Due = state.DueKey(state.CertQueue, next, o.Name)
			if err := state.PutDue(ctx, m.Store, st.Due); err != nil {
				return err
			}
			dropped = append(dropped, o.State.Due)
		}
	}
	err := o.state.Save(ctx, m.Store, st)
	if errors.Is(err, inkan.ErrConflict) {
		return nil // somebody works on it and will meet the entries
	}
	if err != nil {
		return err
	}
	for _, key := range append(dropped, c.met...) {
		if key != st.Due {
			m.dropDue(ctx, m.Store, key)
		}
	}
	return nil
}

// dropOldEntries deletes entries without a request after a day.
func (m *Manager) dropOldEntries(ctx context.Context, keys []string, now time.Time) {
	for _, key := range keys {
		if at, _, err := state.ParseDue(key, state.CertQueue); err == nil && now.Sub(at) > 24*time.Hour {
			m.dropDue(ctx, m.Store, key)
		}
	}
}

// nextDue is the instant at which the certificate must be looked at again;
// zero if never.
func (m *Manager) nextDue(o *Observed, now time.Time) time.Time {
	if o.Request == nil || o.Request.Deleted || o.Request.Unmanaged || o.foreign() {
		return time.Time{}
	}
	st := o.State
	st.Attempts, st.Due, st.NotBefore = 0, "", time.Time{}
	calm := *o
	calm.State = st
	action, _, at := needIssue(&calm, PlanOptions{}, now)
	switch {
	case action == ActionWait && !at.IsZero():
		return at
	case action == ActionWait, o.State.Attempts >= MaxAttempts:
		return now.Add(24 * time.Hour) // nothing is done by itself, but it stays in sight
	}
	return now
}
