package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
	"github.com/inkan-acme/inkan/internal/state"
)

// An attempt ends in one of four ways: it succeeds (rows 14 and 16), it postpones
// an order that can go on (F1), it abandons one that cannot (F2), or it loses its
// lease and leaves the certificate to somebody else. Each way gives the lease back
// by release.

// succeed does rows 14 and 16 after a publication, or after one that came too
// late. The entry for the deployments is put before the journals go, so that a
// killed run is found again by one or the other.
func (a *attempt) succeed(ctx context.Context, published bool) outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if published {
		if err := a.m.wantDeployments(ctx, a.c, a.o); err != nil {
			return a.outcomeOf(err)
		}
	}
	a.removeOrders(ctx) // row 14
	now := a.m.now()
	after, err := a.afterwards(ctx)
	if err != nil {
		return a.outcomeOf(err)
	}
	// Row 16.
	calm := *after
	calm.State = a.stateAfterSuccess(a.lastState(), after, published, now)
	due := nextDue(&calm, now)
	if due.IsZero() {
		due = now.Add(24 * time.Hour)
	}
	err = a.release(ctx, due, func(st *inkan.State) { *st = a.stateAfterSuccess(*st, after, published, now) })
	out := a.outcomeOf(err)
	out.published = published
	if err == nil && a.version != nil && !a.disturbed {
		after.setState(a.lastRecord())
		out.after = after
	}
	return out
}

// outcomeOf is the outcome of an attempt that ends with err.
func (a *attempt) outcomeOf(err error) outcome {
	if errors.Is(err, errLeaseLost) {
		return outcome{busy: true}
	}
	return outcome{err: err}
}

// afterwards returns what there is when the order has ended. What this attempt
// published needs no reading.
func (a *attempt) afterwards(ctx context.Context) (*Observed, error) {
	if a.version == nil {
		return a.m.observe(ctx, a.name)
	}
	return a.o.published(a.current, a.version, a.left), nil
}

// stateAfterSuccess is the state when the order has ended well.
func (a *attempt) stateAfterSuccess(st inkan.State, after *Observed, published bool, now time.Time) inkan.State {
	st.Attempts, st.LastError, st.NotBefore, st.Running, st.Lease = 0, nil, time.Time{}, "", nil
	if st.ARI.N != after.Current.N {
		st.ARI = unheard(st.ARI, after.Current.N)
		st.ARI.Look = firstLook(after)
	}
	st.Revoked = slices.DeleteFunc(slices.Clone(st.Revoked), func(f string) bool {
		return after.Version == nil || !slices.ContainsFunc(after.Version.Pairs, func(p inkan.Pair) bool { return p.Fingerprint().String() == f })
	})
	if len(st.Revoked) == 0 {
		st.Revoked = nil
	}
	st.Round, st.NewKey = newRound(st.Round, now), false
	if st.Refusals = withRefusals(st.Refusals, nil, now); len(st.Refusals) == 0 {
		st.Refusals = nil
	}
	if a.told.ID != "" {
		state.NoteEvent(&st, a.told)
	}
	if published && a.renewal {
		st.Renewals = append(slices.DeleteFunc(slices.Clone(st.Renewals), func(t time.Time) bool { return now.Sub(t) > 7*24*time.Hour }), now.UTC())
	}
	return st
}

// release puts the next due entry, gives the lease back and deletes the entries
// that are not in force any more.
func (a *attempt) release(ctx context.Context, due time.Time, change func(*inkan.State)) error {
	key := state.DueKey(state.CertQueue, due, a.name)
	if err := state.PutDue(ctx, a.m.Store, key); err != nil {
		return err
	}
	err := a.casState(ctx, func(st *inkan.State) {
		change(st)
		st.Due, st.Lease = key, nil
	})
	if err != nil {
		return errors.Join(err, a.m.Store.Delete(ctx, key)) // nobody else knows it
	}
	a.m.leases.forget(a.token)
	a.c.due = nil
	inForce := a.lastState().Due
	old := slices.Concat(a.dueBefore, a.dueOurs, []string{key})
	a.m.deleteDue(ctx, a.m.Store, slices.DeleteFunc(old, func(k string) bool { return k == inForce })...)
	return nil
}

// fail is rows F1 and F2: it records what happened and when the next try comes.
// published says that a version came into force before that.
func (a *attempt) fail(ctx context.Context, cause error, published bool) outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	out := outcome{published: published}
	if errors.Is(cause, errLeaseLost) {
		out.busy, out.err = true, a.removeOrphans(ctx)
		return out
	}
	a.m.logPanic(a.name, cause)
	now := a.m.now()
	if a.ranOut(cause, now) {
		return a.outcomeOf(a.abandon(ctx, nil, now)) // a new order, at once
	}
	v := a.judge(cause, a.lastState(), now)
	var err error
	if v.instead != nil || a.orderIsOver(cause) {
		err = a.abandon(ctx, v, v.retry)
	} else {
		err = a.postpone(ctx, v)
	}
	if v.event.ID != "" {
		err = errors.Join(err, state.WriteEvent(ctx, a.m.Store, v.event))
	}
	switch {
	case errors.Is(err, errLeaseLost):
		out.busy, out.err = true, a.removeOrphans(ctx)
	case err != nil:
		out.err = errors.Join(cause, fmt.Errorf("recording the failure: %w", err))
	case v.instead != nil && !v.retry.After(now):
		out.instead, out.err = v.instead.reason, cause
	default:
		out.err = cause
	}
	return out
}

// ranOut reports whether the order expired while nobody worked on it, which is
// no failure.
func (a *attempt) ranOut(cause error, now time.Time) bool {
	return errors.Is(cause, inkan.ErrOrderDead) && a.resumed && slices.ContainsFunc(a.journals, func(j *state.Journal) bool {
		expires := j.Record().Expires
		return !expires.IsZero() && expires.Before(now)
	})
}

// orderIsOver reports whether nothing can come of the order any more after it
// failed with cause.
func (a *attempt) orderIsOver(cause error) bool {
	if errors.Is(cause, inkan.ErrOrderDead) {
		return true // the CA says so
	}
	if !slices.ContainsFunc(a.journals, func(j *state.Journal) bool { return j.Record().OrderURL != "" }) {
		return true // it was never placed, or nobody knows it
	}
	switch inkan.KindOf(cause) {
	case inkan.Rejected:
		return true // the CA refused for good
	case inkan.Bug:
		// What a CA got wrong ends the order. A panic here says nothing about the CA,
		// which may have issued.
		return !panicked(cause) || !a.finalizing()
	}
	return false
}

// finalizing reports whether the CA may have issued.
func (a *attempt) finalizing() bool {
	return slices.ContainsFunc(a.journals, func(j *state.Journal) bool { return j.Record().Finalizing })
}

// verdict is what follows from a failure.
type verdict struct {
	cause    error
	ca       string // that was asked
	now      time.Time
	attempts int          // failures in a row, this one included
	retry    time.Time    // the next try
	instead  *alternative // nil leaves it to the back-off
	event    inkan.Event  // that tells of it; the zero value if nothing is to be told
}

// judge decides what follows from a failure. An alternative belongs to the same
// try: it does not count, and only a limit delays it.
func (a *attempt) judge(cause error, st inkan.State, now time.Time) *verdict {
	order := a.journals[0].Record()
	v := &verdict{cause: cause, ca: order.CA, now: now, attempts: st.Attempts}
	v.instead = failure{cause: cause, o: a.o, req: a.req, order: order, asked: a.asked, finalizing: a.finalizing()}.alternative(st, now)
	if v.instead != nil {
		v.retry = v.instead.at
	} else {
		if inkan.KindOf(cause) != inkan.Pending {
			v.attempts++
		}
		v.retry = nextTryFor(a.o.Version, a.o.urgent(now), cause, v.attempts, now)
	}
	if inkan.KindOf(cause) != inkan.Pending {
		v.event = inkan.Event{ID: fmt.Sprintf("%s-%d", a.id, v.attempts), At: now, Kind: inkan.EventFailed, Name: a.name,
			Message: inkan.Printable(cause.Error(), 2048), Hint: joinHints(inkan.HintsOf(cause)), NextTry: v.retry}
	}
	return v
}

// record writes the verdict down.
func (v *verdict) record(st *inkan.State) {
	if v.event.ID != "" {
		state.NoteEvent(st, v.event)
	}
	st.Attempts, st.LastError, st.NotBefore = v.attempts, lastError(v.cause, v.now), time.Time{}
	if errors.Is(v.cause, inkan.ErrNoService) {
		st.LastError.NoService = v.ca
	}
	st.Refusals = withRefusals(st.Refusals, refusalsOf(v.cause), v.now)
	switch {
	case inkan.KindOf(v.cause) == inkan.Pending:
		st.LastError = nil
	case v.instead != nil:
		v.instead.apply(st, v.now)
		return
	default:
		st.Round = newRound(st.Round, v.now)
	}
	// NotBefore binds even a person's try, so it never holds the back-off of an
	// ordinary failure.
	if wait := waitOf(v.cause, v.now); !wait.IsZero() {
		st.NotBefore = wait
	} else if errors.Is(v.cause, inkan.RateLimited) {
		st.NotBefore = v.retry
	}
}

// newRound returns the Round with which the next round begins: everything may be
// tried again, but the Retry-After of the CAs still holds.
func newRound(r inkan.Round, now time.Time) inkan.Round {
	return inkan.Round{RetryAfter: stillAhead(r.RetryAfter, now)}
}

// postpone is row F1: the order goes on later.
func (a *attempt) postpone(ctx context.Context, v *verdict) error {
	return a.release(ctx, v.retry, v.record)
}

// abandon is row F2: the order ends here. Without a verdict it counts as no
// failure and a new order is planned at once.
func (a *attempt) abandon(ctx context.Context, v *verdict, retry time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var clean []*state.Journal // the others keep their journal and are tried again
	for _, j := range a.journals {
		if err := a.m.removeProofs(ctx, j); err != nil {
			a.m.log().Warn("a challenge could not be removed; it is tried again", logName(a.name), logError(err))
			continue
		}
		clean = append(clean, j)
	}
	err := a.release(ctx, retry, func(st *inkan.State) {
		st.Running = ""
		if v != nil {
			v.record(st)
		}
	})
	if err != nil {
		return err
	}
	for _, j := range clean {
		if err := a.m.Store.Delete(ctx, j.Key()); err != nil {
			return fmt.Errorf("deleting %s: %w", j.Key(), err)
		}
	}
	return nil
}

// removeOrphans removes the proofs of an attempt that lost its lease, for example
// in a long pause. If a journal is gone, the other process has cleaned up, and
// nobody else removes what this one showed after that. While the journal exists,
// the other process needs the proofs and will remove them.
func (a *attempt) removeOrphans(ctx context.Context) error {
	var errs []error
	for _, j := range a.journals {
		r, err := state.Load[inkan.OrderRecord](ctx, a.m.Store, j.Key())
		if err == nil && !r.Exists() {
			err = a.m.removeProofs(ctx, j)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeOrders removes the proofs and then the journals. What cannot be removed
// keeps its journal and is tried again later.
func (a *attempt) removeOrders(ctx context.Context) {
	for _, j := range a.journals {
		if err := a.m.removeOrder(ctx, j); err != nil {
			a.m.log().Warn("a challenge could not be removed; it is tried again", logName(a.name), logError(err))
			a.left = append(a.left, j)
		}
	}
}

// removeOrder removes what an order showed, then its journal.
func (m *Manager) removeOrder(ctx context.Context, j *state.Journal) error {
	if err := m.removeProofs(ctx, j); err != nil {
		return err
	}
	return m.Store.Delete(ctx, j.Key())
}

// removeProofs removes what an order showed.
func (m *Manager) removeProofs(ctx context.Context, j *state.Journal) error {
	bySolver := map[string][]inkan.Challenge{}
	for _, c := range j.Record().Challenges {
		bySolver[c.Solver] = append(bySolver[c.Solver], c)
	}
	var errs []error
	for name, cs := range bySolver {
		s, err := m.solver(ctx, name)
		if err == nil {
			err = guard.Call("solver "+name, func() error { return s.CleanUp(ctx, cs) })
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeLeftovers cleans up after orders that state does not name.
func (m *Manager) removeLeftovers(ctx context.Context, o *Observed) outcome {
	for _, j := range o.journals {
		if o.State.Running != "" && j.Record().Attempt == o.State.Running {
			continue
		}
		// Write state first, so that the write of a process that is about to name
		// this journal there fails.
		if err := o.state.Save(ctx, m.Store, o.state.Value); err != nil {
			if errors.Is(err, inkan.ErrConflict) {
				return outcome{busy: true}
			}
			return outcome{err: err}
		}
		if err := m.removeOrder(ctx, j); err != nil {
			return outcome{err: inkan.Errorf(inkan.Temporary, "cleaning up after an order of "+o.Name, "%w", err)}
		}
	}
	return outcome{}
}

// lastError is the record of an error.
func lastError(err error, now time.Time) *inkan.LastError {
	return &inkan.LastError{At: now, Kind: inkan.KindOf(err), Message: inkan.Printable(err.Error(), 2048), Hints: inkan.HintsOf(err)}
}

// joinHints makes one line of hints, as events have it.
func joinHints(hints []string) string { return inkan.Printable(strings.Join(hints, "; "), 1024) }
