package inkan

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io/fs"
	"sync"
	"testing"
)

// TestPairForms: the parts add up, and the key belongs to the leaf.
func TestPairForms(t *testing.T) {
	root := newTestCA(t, "root", nil, chainNow.Add(3650*day))
	inter := newTestCA(t, "intermediate", root, chainNow.Add(365*day))
	key := testKey(t, ECDSAP256)
	data, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	leaf := inter.leaf(t, key.Public(), []string{"a.example"}, chainNow, chainNow.Add(day), nil)
	p := Pair{KeyType: ECDSAP256, Leaf: leaf, Chains: [][]byte{pemOf(leaf, inter.cert)}, Key: &StoredKey{Form: PlainKey, Data: data}}
	if !bytes.Equal(p.Cert(), pemOf(leaf)) || !bytes.Equal(p.Chain(), pemOf(inter.cert)) || !bytes.Equal(p.FullChain(), append(p.Cert(), p.Chain()...)) {
		t.Error("leaf and chain do not add up to the full chain")
	}
	keyPEM, err := p.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(p.FullChain(), keyPEM); err != nil {
		t.Error(err)
	}
	c, err := p.TLS()
	if err != nil || len(c.Certificate) != 2 || !bytes.Equal(c.Certificate[1], inter.cert.Raw) {
		t.Errorf("%d certificates, %v", len(c.Certificate), err)
	}
	alone := Pair{Leaf: leaf, Chains: [][]byte{pemOf(leaf)}}
	if got := alone.Chain(); len(got) != 0 {
		t.Errorf("a leaf alone has the chain %q", got)
	}
	sealed := Pair{Leaf: leaf, Chains: alone.Chains, Key: &StoredKey{Form: "box", Data: []byte("x")}}
	if _, err := sealed.KeyPEM(); KindOf(err) != Operator || err == nil {
		t.Errorf("a sealed key: %v", err)
	}
	if _, err := sealed.TLS(); err == nil {
		t.Error("a sealed key was served")
	}
}

// TestF07Accounts: twenty workers that start without an account agree on one key.
func TestF07Accounts(t *testing.T) {
	ctx := t.Context()
	s := newFakeStore()
	a := Accounts(s, "le", "default")
	if _, err := a.Load(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := Accounts(s, "le", "default").Update(ctx, func(r *AccountRecord) {
				if r.Key == nil {
					r.Key = &StoredKey{Form: PlainKey, Data: []byte{byte(i)}}
				}
				r.Contacts = append(r.Contacts, "x")
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := a.Load(ctx)
	if err != nil || len(r.Contacts) != 20 || r.Key == nil {
		t.Errorf("%d updates, %v", len(r.Contacts), err)
	}
	if err := s.Delete(ctx, "accounts/le/default"); err != nil || len(s.values) != 0 {
		t.Errorf("the account lies elsewhere: %v", s.values)
	}
}

// TestJournalTakenOver: whoever lost its journal to another process stops.
func TestJournalTakenOver(t *testing.T) {
	ctx := t.Context()
	s := newFakeStore()
	a := newJournal(s, OrderRecord{Name: "a", Attempt: newID(), KeyType: ECDSAP256})
	if err := a.create(ctx); err != nil {
		t.Fatal(err)
	}
	js, err := journalsOf(ctx, s, "a")
	if err != nil || len(js) != 1 {
		t.Fatal(len(js), err)
	}
	if err := js[0].Update(ctx, func(o *OrderRecord) { o.OrderURL = "https://ca.example/o/1" }); err != nil {
		t.Fatal(err)
	}
	if err := a.Update(ctx, func(o *OrderRecord) { o.OrderURL = "https://ca.example/o/2" }); KindOf(err) != Pending {
		t.Errorf("got %v, want pending", err)
	}
	if got, err := a.Load(ctx); err != nil || got.OrderURL != "" {
		t.Errorf("the loser believes in %q, %v", got.OrderURL, err)
	}
	if err := s.Delete(ctx, js[0].key()); err != nil {
		t.Fatal(err)
	}
	if err := js[0].Update(ctx, func(o *OrderRecord) { o.Finalizing = true }); KindOf(err) != Pending {
		t.Errorf("after the journal was deleted: %v", err)
	}
	names, err := namesWithOrders(ctx, s)
	if err != nil || names != nil {
		t.Errorf("%v, %v", names, err)
	}
}
