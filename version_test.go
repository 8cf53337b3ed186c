package inkan

import (
	"bytes"
	"crypto/tls"
	"strings"
	"testing"

	"github.com/inkan-acme/inkan/internal/testsign"
)

// TestPairForms: the parts add up, and the key belongs to the leaf.
func TestPairForms(t *testing.T) {
	root := testsign.NewCA(t, "root", nil, chainNow.Add(3650*day))
	inter := testsign.NewCA(t, "intermediate", root, chainNow.Add(365*day))
	key := testKey(t, ECDSAP256)
	data, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	leaf := inter.Leaf(t, key.Public(), []string{"a.example"}, chainNow, chainNow.Add(day), nil)
	p := Pair{KeyType: ECDSAP256, Leaf: leaf, Chains: [][]byte{testsign.PEM(leaf, inter.Cert)}, Key: &StoredKey{Form: PlainKey, Data: data}}
	if !bytes.Equal(p.Cert(), testsign.PEM(leaf)) || !bytes.Equal(p.Chain(), testsign.PEM(inter.Cert)) || !bytes.Equal(p.FullChain(), append(p.Cert(), p.Chain()...)) {
		t.Error("leaf and chain do not add up to the full chain")
	}
	d := &Deployment{Version: &Version{Name: "a", Pairs: []Pair{p}}}
	keyPEM, err := d.KeyPEM(t.Context(), &p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(p.FullChain(), keyPEM); err != nil {
		t.Error(err)
	}
	c := p.TLS(key)
	if len(c.Certificate) != 2 || !bytes.Equal(c.Certificate[1], inter.Cert.Raw) {
		t.Errorf("%d certificates", len(c.Certificate))
	}
	alone := Pair{Leaf: leaf, Chains: [][]byte{testsign.PEM(leaf)}}
	if got := alone.Chain(); len(got) != 0 {
		t.Errorf("a leaf alone has the chain %q", got)
	}
	if data, err := d.KeyPEM(t.Context(), &alone); data != nil || err != nil {
		t.Errorf("a key that is elsewhere: %d bytes, %v", len(data), err)
	}
	sealed := Pair{Leaf: leaf, Chains: alone.Chains, Key: &StoredKey{Form: "box", Data: []byte("x")}}
	if _, err := d.KeyPEM(t.Context(), &sealed); KindOf(err) != Operator || !strings.Contains(err.Error(), `"box"`) {
		t.Errorf("a sealed key: %v", err)
	}
}
