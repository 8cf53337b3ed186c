package engine

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
)

// maxStored bounds the chains that are kept of one certificate, so that the value
// fits into every Store (see [inkan.MaxValue]).
const maxStored = inkan.MaxValue * 3 / 4

// store checks what the CA answered and keeps it: rows 10 and 11.
func (a *attempt) store(ctx context.Context, j *state.Journal, issued *inkan.Issued) (*state.Pair, error) {
	rec := j.Record()
	csr, err := x509.ParseCertificateRequest(rec.CSR)
	if err != nil {
		return nil, inkan.Errorf(inkan.Bug, "certificate "+a.name, "the journalled CSR cannot be read")
	}
	chains, err := soundChains(issued.Chains, csr.PublicKey, rec.Identifiers, a.m.now())
	if err != nil {
		return nil, inkan.Errorf(inkan.Bug, fmt.Sprintf("certificate %s from %s", a.name, rec.CA), "it was refused: %w", err).
			WithHint("nothing was stored and the old certificate is untouched; report it to the CA")
	}
	i, found := inkan.PreferredChain(chains, a.req.PreferredChain)
	if !found {
		a.m.log().Warn("the preferred chain is not offered; the CA's default is used", logName(a.name))
	}
	chains[0], chains[i] = chains[i], chains[0]
	cv := state.CertValue{KeyType: rec.KeyType, Identifiers: rec.Identifiers, OrderHash: rec.OrderHash, CA: rec.CA, Account: rec.Account, Source: inkan.SourceIssued}
	size := 0
	for _, c := range chains {
		if size += len(c); size > maxStored && len(cv.Chains) > 0 {
			break // no room for another chain to choose from
		}
		cv.Chains = append(cv.Chains, string(c))
	}
	return state.StorePair(ctx, a.m.Store, a.versionID(), cv, rec.Key)
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
func (a *attempt) publish(ctx context.Context, pairs []*state.Pair) (bool, error) {
	v := &inkan.Version{Name: a.name, ID: a.id}
	sums := map[inkan.KeyType]inkan.PairSum{}
	for _, p := range pairs {
		v.Pairs, v.Identifiers = append(v.Pairs, p.Pair), p.Identifiers
		sums[p.KeyType] = p.Sum
	}
	base := a.journals[0].Record().Base
	for cur := a.current; ; {
		switch {
		case cur.Value.ID == a.id:
			a.current, a.version = cur, v
			v.N, v.Seq, v.At = cur.Value.N, cur.Value.Seq, cur.Value.At
			return true, a.announce(ctx, v)
		case cur.Value.N != base:
			return false, a.superseded(ctx)
		}
		next := inkan.Current{N: base + 1, Seq: cur.Value.Top + 1, Top: cur.Value.Top + 1, ID: a.id, At: a.m.now().UTC(), Pairs: sums}
		err := cur.Save(ctx, a.m.Store, next)
		if errors.Is(err, inkan.ErrConflict) {
			// The other write may have kept n, as sealing the keys again does. Then
			// this version may still be published.
			cur, err = state.Load[inkan.Current](ctx, a.m.Store, state.CurrentKey(a.name))
		}
		if err != nil {
			return false, err
		}
		if err := ctx.Err(); err != nil && cur.Value.ID != a.id {
			return false, err
		}
	}
}

// superseded writes the event that another process published first. Our version
// stays in the Store as a spare.
func (a *attempt) superseded(ctx context.Context) error {
	return state.WriteEvent(ctx, a.m.Store, inkan.Event{ID: a.id + "-" + string(inkan.EventSuperseded), At: a.journals[0].Record().Created, Kind: inkan.EventSuperseded,
		Name: a.name, Message: "another version was published first; this one is kept as a spare"})
}

// announceAgain is announce for what a process published that crashed.
func (a *attempt) announceAgain(ctx context.Context) error {
	v, err := state.LoadVersion(ctx, a.m.Store, a.name, a.current.Value)
	if err != nil {
		return state.DamagedHint(err)
	}
	a.version = v
	return a.announce(ctx, v)
}

// announce is row 13: the hints from names to the certificate, then the event,
// which makes servers look at the hints.
func (a *attempt) announce(ctx context.Context, v *inkan.Version) error {
	had, err := a.previousIdentifiers(ctx, v)
	if err != nil {
		return err
	}
	if err := a.m.hints(ctx, a.name, had, v.Identifiers); err != nil {
		return err
	}
	a.told = inkan.Event{ID: a.id, At: v.At, Kind: inkan.EventIssued, Name: a.name, N: v.N,
		Message: fmt.Sprintf("%s, valid until %s", joinIdentifiers(v.Identifiers, 5), stamp(v.Pairs[0].Leaf.NotAfter))}
	return state.WriteEvent(ctx, a.m.Store, a.told)
}

// previousIdentifiers are those of the version before v. After a crash the
// version in force is our own, so the one before it is looked up.
func (a *attempt) previousIdentifiers(ctx context.Context, v *inkan.Version) ([]inkan.Identifier, error) {
	if a.o.Version != nil && a.o.Version.N != v.N {
		return a.o.Version.Identifiers, nil
	}
	if !a.resumed {
		return nil, nil
	}
	var had []inkan.Identifier
	ours := state.VersionID{Name: a.name, Seq: v.Seq}.Prefix()
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
	var writing errgroup.Group
	writing.SetLimit(m.workers())
	for _, id := range have {
		if !slices.Contains(had, id) {
			writing.Go(func() error {
				_, err := state.CreateOnce(ctx, m.Store, state.NameIndexKey(id, name), name, "hint")
				return err
			})
		}
	}
	errs := []error{writing.Wait()}
	for _, id := range had {
		if !slices.Contains(have, id) {
			errs = append(errs, m.Store.Delete(ctx, state.NameIndexKey(id, name)))
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
