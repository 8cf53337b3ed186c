package engine

import (
	"context"
	"slices"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// Revoke revokes the version in force. byKey signs with the certificate's own
// key, which works without the account. The certificate is not renewed by
// itself afterwards: whoever revokes decides what follows.
func (m *Manager) Revoke(ctx context.Context, name string, reason inkan.RevocationReason, byKey bool) error {
	o, err := m.Observe(ctx, name)
	if err != nil {
		return err
	}
	if o.Version == nil {
		return inkan.Errorf(inkan.Operator, "certificate "+name, "there is no certificate in force to revoke")
	}
	for i := range o.Version.Pairs {
		p := &o.Version.Pairs[i]
		issuer, err := m.issuer(ctx, p.CA, p.Account)
		if err != nil {
			return err
		}
		revoker, ok := issuer.(inkan.Revoker)
		if !ok {
			return inkan.Errorf(inkan.Operator, "certificate "+name, "the CA %s cannot revoke", p.CA)
		}
		var key *inkan.PrivateKey
		if byKey {
			if p.Key == nil {
				return inkan.Errorf(inkan.Operator, "certificate "+name, "its private key is not here, so it cannot sign the revocation")
			}
			if key, err = m.openKey(ctx, name, p.Key); err != nil {
				return err
			}
		}
		if err := revoker.Revoke(ctx, p.Leaf, reason, key); err != nil {
			return err
		}
		f := p.Fingerprint().String()
		e := inkan.Event{ID: "revoked-" + f[:16], At: m.now().UTC(), Kind: inkan.EventRevoked, Name: name, N: o.Current.N}
		_, err = state.Update(ctx, m.Store, state.StateKey(name), func(st *inkan.State, _ bool) error {
			if slices.Contains(st.Revoked, f) {
				return state.ErrUnchanged
			}
			st.Revoked = append(slices.Clone(st.Revoked), f)
			state.NoteEvent(st, e)
			return nil
		})
		if err != nil {
			return state.DamagedHint(err)
		}
		if err := state.WriteEvent(ctx, m.Store, e); err != nil {
			return err
		}
	}
	return nil
}
