package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// look asks the CA for its advice and keeps it.
func (m *Manager) look(ctx context.Context, o *Observed) error {
	p := &o.Version.Pairs[0]
	m.progress(o.Name, "asking the CA when to renew")
	info, askErr := m.renewalInfo(ctx, p)
	now := m.now() // by the CA's clock, if its answer says so
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.hasPanicked(o.Name, askErr)
	st := o.State
	st.ARI = advise(o.State.ARI, o.Current.N, p.Leaf, info, askErr, now)
	if askErr != nil {
		m.log().LogAttrs(ctx, logDecision, "no renewal advice", logName(o.Name), logError(askErr))
	}
	tell := missed(st.ARI)
	if tell {
		st.ARI.Told = true
	}
	// The due entry moves with the advice.
	after := *o
	after.State = st
	old := st.Due
	next := m.nextDue(&after, now)
	if !next.IsZero() {
		st.Due = state.DueKey(state.CertQueue, next, o.Name)
		if err := state.PutDue(ctx, m.Store, st.Due); err != nil {
			return err
		}
	}
	err := o.state.Save(ctx, m.Store, st)
	if err == nil && tell { // who saved it tells it
		err = m.tellNoAdvice(ctx, o, st.ARI, p.CA)
	}
	if st.Due == old {
		return err
	}
	switch {
	case errors.Is(err, inkan.ErrConflict):
		m.dropDue(ctx, m.Store, st.Due) // nobody else knows it
		err = nil
	case err == nil:
		m.dropDue(ctx, m.Store, old)
	}
	return err
}

// tellNoAdvice tells, once for as long as it lasts, that the CA has not said
// for a day when to renew (reliability A16).
func (m *Manager) tellNoAdvice(ctx context.Context, o *Observed, ari inkan.ARIState, ca string) error {
	m.log().LogAttrs(ctx, slog.LevelWarn, "no renewal advice for a day", logName(o.Name), slog.String("ca", ca), slog.Time("since", ari.Failing), slog.String("error", ari.Error))
	return state.WriteEvent(ctx, m.Store, inkan.Event{ID: "advice-" + state.NewID(), At: ari.Looked, Kind: inkan.EventNoAdvice, Name: o.Name, N: o.Current.N,
		Message: fmt.Sprintf("the CA %s was asked %d times since %s when to renew, in vain: %s", ca, ari.Misses, stamp(ari.Failing), ari.Error),
		Hint:    "it is renewed by the life that is left, so nothing runs out; but should the CA revoke it, that would not be noticed", NextTry: ari.Look})
}

func (m *Manager) renewalInfo(ctx context.Context, p *inkan.Pair) (*inkan.RenewalInfo, error) {
	issuer, err := m.Issuer(ctx, p.CA, p.Account)
	if err != nil {
		return nil, err
	}
	ri, ok := issuer.(inkan.RenewalInformer)
	if !ok {
		return nil, inkan.Errorf(inkan.Rejected, "renewal information", "the CA %s gives none", p.CA).After(m.now().Add(ariLookMax))
	}
	var info *inkan.RenewalInfo
	err = guarded("CA "+p.CA, func() (err error) {
		info, err = ri.RenewalInfo(ctx, p.Leaf)
		return err
	})
	m.heed(p.CA, issuer)
	return info, err
}
