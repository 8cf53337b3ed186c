package inkan

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
)

// store checks what the CA answered and keeps it: rows 10 and 11.
func (a *attempt) store(ctx context.Context, j *journal, seq uint64, issued *Issued) (PairSum, error) {
	rec, err := j.Load(ctx)
	if err != nil {
		return PairSum{}, err
	}
	csr, err := x509.ParseCertificateRequest(rec.CSR)
	if err != nil {
		return PairSum{}, Errorf(Bug, "certificate "+a.name, "the journalled CSR cannot be read")
	}
	chains, err := soundChains(issued.Chains, csr.PublicKey, rec.Identifiers, a.m.now())
	if err != nil {
		return PairSum{}, Errorf(Bug, fmt.Sprintf("certificate %s from %s", a.name, rec.CA), "it was refused: %w", err).
			WithHint("nothing was stored and the old certificate is untouched; report it to the CA")
	}
	i, found := PreferredChain(chains, a.req.PreferredChain)
	if !found {
		a.m.log().Warn("the preferred chain is not offered; the CA's default is used", logName(a.name))
	}
	chains[0], chains[i] = chains[i], chains[0]
	cv := certValue{KeyType: rec.KeyType, Identifiers: rec.Identifiers, Ask: rec.Ask, CA: rec.CA, Account: rec.Account, Source: "issued"}
	for _, c := range chains {
		cv.Chains = append(cv.Chains, string(c))
	}
	sum := PairSum{Cert: chainsSum(cv.Chains)}
	if rec.Key != nil { // row 10
		sum.Key = sumOf(rec.Key.Data)
		if err := keep(ctx, a.m.Store, keyKey(a.name, seq, a.id, rec.KeyType), rec.Key, a.id); err != nil {
			return PairSum{}, err
		}
	}
	return sum, keep(ctx, a.m.Store, certKey(a.name, seq, a.id, rec.KeyType), cv, a.id) // row 11
}

// soundChains returns the chains that pass every check, in their order; an
// error only if none does.
func soundChains(chains [][]byte, key crypto.PublicKey, ids []Identifier, now time.Time) ([][]byte, error) {
	var sound [][]byte
	var first error
	for _, c := range chains {
		if _, err := CheckChain(c, key, ids, now); err != nil {
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
func (a *attempt) publish(ctx context.Context, pairs map[KeyType]PairSum) (bool, error) {
	cur, err := load[Current](ctx, a.m.Store, currentKey(a.name))
	if err != nil {
		return false, err
	}
	base := a.journals[0].record().Base
	if cur.v.ID != a.id {
		if cur.v.N != base {
			return false, a.superseded(ctx)
		}
		next := Current{N: base + 1, Seq: cur.v.Top + 1, Top: cur.v.Top + 1, ID: a.id, At: a.m.now().UTC(), Pairs: maps.Clone(pairs)}
		err := cur.save(ctx, a.m.Store, next)
		if errors.Is(err, ErrConflict) {
			if cur, err = load[Current](ctx, a.m.Store, currentKey(a.name)); err == nil && cur.v.ID != a.id {
				return false, a.superseded(ctx)
			}
		}
		if err != nil {
			return false, err
		}
	}
	return true, a.announce(ctx, cur.v)
}

// superseded: somebody else published meanwhile. What we got is a spare that
// stays where it is.
func (a *attempt) superseded(ctx context.Context) error {
	return writeEvent(ctx, a.m.Store, Event{ID: a.id + "-" + string(EventSuperseded), At: a.journals[0].record().Created, Kind: EventSuperseded,
		Name: a.name, Message: "another version was published first; this one is kept as a spare"})
}

// announce is row 13: the hints from names to the certificate, then the event,
// which makes servers look at the hints.
func (a *attempt) announce(ctx context.Context, cur Current) error {
	v, err := LoadVersion(ctx, a.m.Store, a.name, cur)
	if err != nil {
		return damagedHint(err)
	}
	had, err := a.previousIdentifiers(ctx, cur)
	if err != nil {
		return err
	}
	if err := a.m.hints(ctx, a.name, had, v.Identifiers); err != nil {
		return err
	}
	return writeEvent(ctx, a.m.Store, Event{ID: a.id, At: cur.At, Kind: EventIssued, Name: a.name, N: cur.N,
		Message: fmt.Sprintf("%s, valid until %s", joinIdentifiers(v.Identifiers, 5), stamp(v.Pairs[0].Leaf.NotAfter))})
}

// previousIdentifiers are those of the version before cur. After a crash the
// version in force is our own, so the one before it is looked up.
func (a *attempt) previousIdentifiers(ctx context.Context, cur Current) ([]Identifier, error) {
	if a.o.Version != nil && a.o.Version.N != cur.N {
		return a.o.Version.Identifiers, nil
	}
	if !a.resumed {
		return nil, nil
	}
	var had []Identifier
	for key, err := range a.m.Store.List(ctx, "v/"+a.name+"/", "") {
		if err != nil {
			return nil, fmt.Errorf("listing the versions of %s: %w", a.name, err)
		}
		if key >= versionPrefix(a.name, cur.Seq, "") {
			break
		}
		if cv, err := load[certValue](ctx, a.m.Store, key); err == nil && strings.HasSuffix(key, "/cert") {
			had = append(had, cv.v.Identifiers...)
		}
	}
	return had, nil
}

// hints puts the hints of the names that are new and removes those of names
// that are gone.
func (m *Manager) hints(ctx context.Context, name string, had, have []Identifier) error {
	errs := make([]error, len(have))
	m.each(len(have), func(i int) {
		if !slices.Contains(had, have[i]) {
			errs[i] = keep(ctx, m.Store, hintKey(have[i], name), name, "hint")
		}
	})
	for _, id := range had {
		if !slices.Contains(have, id) {
			errs = append(errs, m.Store.Delete(ctx, hintKey(id, name)))
		}
	}
	return errors.Join(errs...)
}

func joinIdentifiers(ids []Identifier, most int) string {
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
