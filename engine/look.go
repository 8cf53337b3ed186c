package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/guard"
	"github.com/inkan-acme/inkan/internal/state"
)

// look asks the CA for its advice and keeps it. The due entry moves with it.
func (m *Manager) look(ctx context.Context, o *Observed) outcome {
	p := &o.Version.Pairs[0]
	m.progress(o.Name, "asking the CA when to renew")
	info, askErr := m.renewalInfo(ctx, p)
	now := m.now() // by the CA's clock, if its answer says so
	if ctx.Err() != nil {
		return outcome{err: ctx.Err()}
	}
	m.logPanic(o.Name, askErr)
	after := *o
	st := o.State
	st.ARI = advise(o.State.ARI, o.Current.N, p.Leaf, info, askErr, now)
	if askErr != nil {
		m.log().LogAttrs(ctx, logDecision, "no renewal advice", logName(o.Name), logError(askErr))
	}
	tell := missed(st.ARI)
	if tell {
		st.ARI.Told = true
	}
	after.State = st
	old := st.Due
	if next := nextDue(&after, now); !next.IsZero() {
		st.Due = state.DueKey(state.CertQueue, next, o.Name)
		if err := state.PutDue(ctx, m.Store, st.Due); err != nil {
			return outcome{err: err}
		}
	}
	record := o.state
	err := record.Save(ctx, m.Store, st)
	switch {
	case errors.Is(err, inkan.ErrConflict): // somebody moved state; nobody else knows our entry
		if st.Due != old {
			m.deleteDue(ctx, m.Store, st.Due)
		}
		return outcome{}
	case err != nil:
		return outcome{err: err}
	}
	if st.Due != old {
		m.deleteDue(ctx, m.Store, old)
	}
	if tell { // only the process that saved it
		err = m.tellNoAdvice(ctx, o, st.ARI, p.CA)
	}
	after.setState(record)
	return outcome{after: &after, err: err}
}

// tellNoAdvice tells, once for as long as it lasts, that the CA has not said
// for a day when to renew (reliability A16).
func (m *Manager) tellNoAdvice(ctx context.Context, o *Observed, ari inkan.ARIState, ca string) error {
	m.log().LogAttrs(ctx, slog.LevelWarn, "no renewal advice for a day", logName(o.Name), slog.String("ca", ca), slog.Time("since", ari.Failing), slog.String("error", ari.Error))
	return state.WriteEvent(ctx, m.Store, inkan.Event{ID: "advice-" + state.NewID(), At: ari.Looked, Kind: inkan.EventNoAdvice, Name: o.Name, N: o.Current.N,
		Message: fmt.Sprintf("the CA %s was asked %d times since %s when to renew, in vain: %s", ca, ari.Misses, stamp(ari.Failing), ari.Error),
		Hint:    "it is renewed by its remaining life, so it does not expire; but if the CA revoked it, that would not be noticed", NextTry: ari.Look})
}

func (m *Manager) renewalInfo(ctx context.Context, p *inkan.Pair) (*inkan.RenewalInfo, error) {
	issuer, err := m.issuer(ctx, p.CA, p.Account)
	if err != nil {
		return nil, err
	}
	ri, ok := issuer.(inkan.RenewalInformer)
	if !ok {
		return nil, inkan.Errorf(inkan.Rejected, "renewal information", "the CA %s gives none", p.CA).After(m.now().Add(ariLookMax))
	}
	var info *inkan.RenewalInfo
	err = guard.Call("CA "+p.CA, func() (err error) {
		info, err = ri.RenewalInfo(ctx, p.Leaf)
		return err
	})
	m.noteSkew(p.CA, issuer)
	return info, err
}
