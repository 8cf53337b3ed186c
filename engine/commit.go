package engine

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// store checks what the CA answered and keeps it: rows 10 and 11.
func (a *attempt) store(ctx context.Context, j *state.Journal, v state.VersionID, issued *inkan.Issued) (inkan.PairSum, error) {
	rec, err := j.Load(ctx)
	if err != nil {
		return inkan.PairSum{}, err
	}
	csr, err := x509.ParseCertificateRequest(rec.CSR)
	if err != nil {
		return inkan.PairSum{}, inkan.Errorf(inkan.Bug, "certificate "+a.name, "the journalled CSR cannot be read")
	}
	chains, err := soundChains(issued.Chains, csr.PublicKey, rec.Identifiers, a.m.now())
	if err != nil {
		return inkan.PairSum{}, inkan.Errorf(inkan.Bug, fmt.Sprintf("certificate %s from %s", a.name, rec.CA), "it was refused: %w", err).
			WithHint("nothing was stored and the old certificate is untouched; report it to the CA")
	}
	i, found := inkan.PreferredChain(chains, a.req.PreferredChain)
	if !found {
		a.m.log().Warn("the preferred chain is not offered; the CA's default is used", logName(a.name))
	}
	chains[0], chains[i] = chains[i], chains[0]
	cv := state.CertValue{KeyType: rec.KeyType, Identifiers: rec.Identifiers, Ask: rec.Ask, CA: rec.CA, Account: rec.Account, Source: inkan.SourceIssued}
	for _, c := range chains {
		cv.Chains = append(cv.Chains, string(c))
	}
	p, err := state.StorePair(ctx, a.m.Store, v, cv, rec.Key) // rows 10 and 11
	if err != nil {
		return inkan.PairSum{}, err
	}
	return p.Sum, nil
}

// soundChains returns the chains that pass every check, in their order; an
// error only if none does.
func soundChains(chains [][]byte, key crypto.PublicKey, ids []inkan.Identifier, now time.Time) ([][]byte, error) {
	var sound [][]byte
	var first error
	for _, c := range chains {
		if _, err := inkan.CheckChain(c, key, ids, now); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		sound = append(sound, c)
	}
	if len(sound) == 0 {
		if first == nil {
			first = errors.New("the answer holds no chain")
		}
		return nil, first
	}
	return sound, nil
}

// publish is row 12, the commit point.
func (a *attempt) publish(ctx context.Context, pairs map[inkan.KeyType]inkan.PairSum) (bool, error) {
	base := a.journals[0].Record().Base
	for {
		cur, err := state.Load[inkan.Current](ctx, a.m.Store, state.CurrentKey(a.name))
		if err != nil {
			return false, err
		}
		switch {
		case cur.Value.ID == a.id:
			return true, a.announce(ctx, cur.Value)
		case cur.Value.N != base:
			return false, a.superseded(ctx)
		}
		next := inkan.Current{N: base + 1, Seq: cur.Value.Top + 1, Top: cur.Value.Top + 1, ID: a.id, At: a.m.now().UTC(), Pairs: maps.Clone(pairs)}
		// Who lost to a write that kept n, as sealing the keys again does, has not
		// lost the order.
		if err := cur.Save(ctx, a.m.Store, next); err == nil {
			return true, a.announce(ctx, cur.Value)
		} else if !errors.Is(err, inkan.ErrConflict) {
			return false, err
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}

// superseded: somebody else published meanwhile. What we got is a spare that
// stays where it is.
func (a *attempt) superseded(ctx context.Context) error {
	return state.WriteEvent(ctx, a.m.Store, inkan.Event{ID: a.id + "-" + string(inkan.EventSuperseded), At: a.journals[0].Record().Created, Kind: inkan.EventSuperseded,
		Name: a.name, Message: "another version was published first; this one is kept as a spare"})
}

// announce is row 13: the hints from names to the certificate, then the event,
// which makes servers look at the hints.
func (a *attempt) announce(ctx context.Context, cur inkan.Current) error {
	v, err := state.LoadVersion(ctx, a.m.Store, a.name, cur)
	if err != nil {
		return state.DamagedHint(err)
	}
	had, err := a.previousIdentifiers(ctx, cur)
	if err != nil {
		return err
	}
	if err := a.m.hints(ctx, a.name, had, v.Identifiers); err != nil {
		return err
	}
	a.told = inkan.Event{ID: a.id, At: cur.At, Kind: inkan.EventIssued, Name: a.name, N: cur.N,
		Message: fmt.Sprintf("%s, valid until %s", joinIdentifiers(v.Identifiers, 5), stamp(v.Pairs[0].Leaf.NotAfter))}
	return state.WriteEvent(ctx, a.m.Store, a.told)
}

// previousIdentifiers are those of the version before cur. After a crash the
// version in force is our own, so the one before it is looked up.
func (a *attempt) previousIdentifiers(ctx context.Context, cur inkan.Current) ([]inkan.Identifier, error) {
	if a.o.Version != nil && a.o.Version.N != cur.N {
		return a.o.Version.Identifiers, nil
	}
	if !a.resumed {
		return nil, nil
	}
	var had []inkan.Identifier
	ours := state.VersionID{Name: a.name, Seq: cur.Seq}.Prefix()
	for key, err := range a.m.Store.List(ctx, state.VersionsPrefix(a.name), "") {
		if err != nil {
			return nil, fmt.Errorf("listing the versions of %s: %w", a.name, err)
		}
		if key >= ours[:len(ours)-1] {
			break
		}
		if cv, err := state.Load[state.CertValue](ctx, a.m.Store, key); err == nil && strings.HasSuffix(key, "/cert") {
			had = append(had, cv.Value.Identifiers...)
		}
	}
	return had, nil
}

// hints puts the hints of the names that are new and removes those of names
// that are gone.
func (m *Manager) hints(ctx context.Context, name string, had, have []inkan.Identifier) error {
	errs := make([]error, len(have))
	m.each(len(have), func(i int) {
		if !slices.Contains(had, have[i]) {
			_, errs[i] = state.CreateOnce(ctx, m.Store, state.HintKey(have[i], name), name, "hint")
		}
	})
	for _, id := range had {
		if !slices.Contains(have, id) {
			errs = append(errs, m.Store.Delete(ctx, state.HintKey(id, name)))
		}
	}
	return errors.Join(errs...)
}

func joinIdentifiers(ids []inkan.Identifier, most int) string {
	words := ""
	for i, id := range ids {
		if i == most {
			return fmt.Sprintf("%s and %d more", words, len(ids)-most)
		}
		if i > 0 {
			words += " "
		}
		words += id.Value
	}
	return words
}
