package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// finish does rows 14 and 16 after a publication, or after one that came too
// late. The entry for the deployments is put before the journals go, so that a
// killed run is found again by one or the other.
func (a *attempt) finish(ctx context.Context, published bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if published {
		if err := a.m.wantDeployments(ctx, a.c, a.o); err != nil {
			return err
		}
	}
	a.cleanUpAll(ctx) // row 14
	now := a.m.now()
	after, err := a.m.observe(ctx, a.name)
	if err != nil {
		return err
	}
	// Row 16.
	next := a.settled(a.lastState(), after, published, now)
	at := *after
	at.State = next
	due := a.m.nextDue(&at, now)
	if due.IsZero() {
		due = now.Add(24 * time.Hour)
	}
	return a.end(ctx, due, func(st *inkan.State) { *st = a.settled(*st, after, published, now) })
}

// settled is the state after a success.
func (a *attempt) settled(st inkan.State, after *Observed, published bool, now time.Time) inkan.State {
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
	st.FailedCAs, st.Without, st.Instead, st.NewKey, st.Waits = nil, nil, 0, false, waitsAt(st.Waits, now)
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

// end puts the next due entry, frees the lease and deletes the entries that
// this run knew.
func (a *attempt) end(ctx context.Context, due time.Time, change func(*inkan.State)) error {
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
	a.m.forget(a.token)
	inForce := a.lastState().Due
	for _, k := range append(append(slices.Clone(a.known), a.ourDue...), key) {
		if k != inForce {
			a.m.dropDue(ctx, a.m.Store, k)
		}
	}
	return nil
}

// failed is rows F1 and F2: it records what happened and when the next try
// comes, and returns the error with that.
func (a *attempt) failed(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if errors.Is(cause, errBusy) {
		return errors.Join(cause, a.removeOrphans(ctx))
	}
	now := a.m.now()
	kind := inkan.KindOf(cause)
	ordered := slices.ContainsFunc(a.journals, func(j *state.Journal) bool { return j.Record().OrderURL != "" })
	expired := errors.Is(cause, inkan.ErrOrderDead) && a.resumed && slices.ContainsFunc(a.journals, func(j *state.Journal) bool {
		return !j.Record().Expires.IsZero() && j.Record().Expires.Before(now)
	})
	if expired {
		// It ran out while nobody worked on it: a new order, at once.
		return a.close(ctx, nil, now)
	}
	f := a.judge(cause, a.lastState(), now)
	if kind != inkan.Pending {
		f.event = inkan.Event{ID: fmt.Sprintf("%s-%d", a.id, f.attempts), At: now, Kind: inkan.EventFailed, Name: a.name,
			Message: inkan.Printable(cause.Error(), 2048), Hint: inkan.Printable(joinLines(inkan.HintsOf(cause)), 1024), NextTry: f.retry}
	}
	var err error
	// What a CA got wrong ends the order. A panic here says nothing about the CA,
	// which may have issued.
	bug := kind == inkan.Bug
	if a.m.hasPanicked(a.name, cause) && slices.ContainsFunc(a.journals, func(j *state.Journal) bool { return j.Record().Finalizing }) {
		bug = false
	}
	if errors.Is(cause, inkan.ErrOrderDead) || kind == inkan.Rejected || bug || !ordered || f.instead != nil {
		err = a.close(ctx, f, f.retry) // F2
	} else {
		err = a.end(ctx, f.retry, f.record) // F1
	}
	if f.event.ID != "" {
		err = errors.Join(err, state.WriteEvent(ctx, a.m.Store, f.event))
	}
	if errors.Is(err, errBusy) {
		return errors.Join(errBusy, a.removeOrphans(ctx))
	}
	if err != nil {
		return errors.Join(cause, fmt.Errorf("recording the failure: %w", err))
	}
	if f.instead != nil && !f.retry.After(now) {
		return &errAlternative{cause, f.instead.reason}
	}
	return cause
}

// removeOrphans is for a worker that lost its lease, after a long pause say:
// what it showed after the other worker had finished and cleaned up is its own
// to remove. While the journal stands, the other worker needs the proofs and
// will remove them.
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

func joinLines(lines []string) string {
	all := ""
	for i, l := range lines {
		if i > 0 {
			all += "; "
		}
		all += l
	}
	return all
}

// verdict is what follows from a failure.
type verdict struct {
	cause    error
	ca       string // that was asked
	now      time.Time
	attempts int       // failures in a row, this one included
	retry    time.Time // the next try
	instead  *alternative
	event    inkan.Event // that tells of it; the zero value if nothing is to be told
}

// judge decides what follows from a failure. An alternative belongs to the same
// try: it does not count, and only a limit delays it.
func (a *attempt) judge(cause error, st inkan.State, now time.Time) *verdict {
	v := &verdict{cause: cause, ca: a.journals[0].Record().CA, now: now, attempts: st.Attempts, instead: a.alternative(cause, st, now)}
	if v.instead != nil {
		v.retry = v.instead.at
		return v
	}
	if inkan.KindOf(cause) != inkan.Pending {
		v.attempts++
	}
	v.retry = nextTryFor(a.o.Version, a.o.hurry(now), cause, v.attempts, now)
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
		st.Instead++
		v.instead.change(st)
		return
	default:
		st.FailedCAs, st.Without, st.Instead = nil, nil, 0
	}
	// What was asked of us, not our own back-off, holds for everybody.
	if wait := waitOf(v.cause, v.now); !wait.IsZero() {
		st.NotBefore = wait
	} else if errors.Is(v.cause, inkan.RateLimited) {
		st.NotBefore = v.retry
	}
}

// close is row F2: the order ends here. Without a verdict it counts as no
// failure and a new order is planned at once.
func (a *attempt) close(ctx context.Context, v *verdict, retry time.Time) error {
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
	err := a.end(ctx, retry, func(st *inkan.State) {
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

// cleanUpAll removes the proofs and then the journals. What cannot be removed
// keeps its journal and is tried again later.
func (a *attempt) cleanUpAll(ctx context.Context) {
	for _, j := range a.journals {
		if err := a.m.cleanUp(ctx, j); err != nil {
			a.m.log().Warn("a challenge could not be removed; it is tried again", logName(a.name), logError(err))
		}
	}
}

// cleanUp removes what an order showed, then its journal.
func (m *Manager) cleanUp(ctx context.Context, j *state.Journal) error {
	if err := m.removeProofs(ctx, j); err != nil {
		return err
	}
	return m.Store.Delete(ctx, j.Key())
}

func (m *Manager) removeProofs(ctx context.Context, j *state.Journal) error {
	rec, err := j.Load(ctx)
	if err != nil {
		return err
	}
	bySolver := map[string][]inkan.Challenge{}
	for _, c := range rec.Challenges {
		bySolver[c.Solver] = append(bySolver[c.Solver], c)
	}
	var errs []error
	for name, cs := range bySolver {
		s, err := m.solver(ctx, name)
		if err == nil {
			err = guarded("solver "+name, func() error { return s.CleanUp(ctx, cs) })
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tidy cleans up after orders that state does not name.
func (m *Manager) tidy(ctx context.Context, o *Observed) error {
	for _, j := range o.journals {
		if j.Record().Attempt == o.State.Running && o.State.Running != "" {
			continue
		}
		// Touch state first: whoever is about to name this journal loses.
		if err := o.state.Save(ctx, m.Store, o.state.Value); err != nil {
			if errors.Is(err, inkan.ErrConflict) {
				return errBusy
			}
			return err
		}
		if err := m.cleanUp(ctx, j); err != nil {
			return inkan.Errorf(inkan.Temporary, "cleaning up after an order of "+o.Name, "%w", err)
		}
	}
	return nil
}

func lastError(err error, now time.Time) *inkan.LastError {
	return &inkan.LastError{At: now, Kind: inkan.KindOf(err), Message: inkan.Printable(err.Error(), 2048), Hints: inkan.HintsOf(err)}
}
