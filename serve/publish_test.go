package serve

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
	"github.com/inkan-acme/inkan/internal/testsign"
)

// publish puts a version of a certificate into the Store as an attempt does.
func publishFor(t testing.TB, s inkan.Store, ca *testsign.CA, key *inkan.PrivateKey, name string, n uint64, now time.Time, names ...string) {
	t.Helper()
	ctx := context.Background()
	leaf := ca.Leaf(t, key.Public(), names, now.Add(-time.Hour), now.Add(90*24*time.Hour), nil)
	stored, err := inkan.StorePlain(key)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%016x", n)
	cv := state.CertValue{KeyType: inkan.ECDSAP256, Identifiers: testkit.IDs(names...), Chains: []string{string(testsign.PEM(leaf, ca.Cert))}, Source: inkan.SourceIssued, CA: "ca", Account: "default"}
	p, err := state.StorePair(ctx, s, state.VersionID{Name: name, Seq: n, ID: id}, cv, stored)
	if err != nil {
		t.Fatal(err)
	}
	_, err = state.Update(ctx, s, state.CurrentKey(name), func(c *inkan.Current, _ bool) error {
		*c = inkan.Current{N: n, Seq: n, Top: n, ID: id, At: now, Pairs: map[inkan.KeyType]inkan.PairSum{inkan.ECDSAP256: p.Sum}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range cv.Identifiers {
		if _, err := state.CreateOnce(ctx, s, state.NameIndexKey(id, name), name, "hint"); err != nil {
			t.Fatal(err)
		}
	}
	if err := state.WriteEvent(ctx, s, inkan.Event{ID: fmt.Sprintf("%s-%s", id, state.Sum([]byte(name))[:8]), At: now, Kind: inkan.EventIssued, Name: name, N: n}); err != nil {
		t.Fatal(err)
	}
}

// indexedStore answers List for known prefixes without looking at all keys, so
// that a bench of thousands of names is not one of the fake.
type indexedStore struct {
	*testkit.Store
	index map[string][]string
}

func (s indexedStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	keys, ok := s.index[prefix]
	if !ok {
		return s.Store.List(ctx, prefix, after)
	}
	return func(yield func(string, error) bool) {
		for _, k := range keys {
			if k > after && !yield(k, nil) {
				return
			}
		}
	}
}
