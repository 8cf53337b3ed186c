package inkan

import (
	"bytes"
	"crypto/tls"
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
	keyPEM, err := p.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(p.FullChain(), keyPEM); err != nil {
		t.Error(err)
	}
	c, err := p.TLS()
	if err != nil || len(c.Certificate) != 2 || !bytes.Equal(c.Certificate[1], inter.Cert.Raw) {
		t.Errorf("%d certificates, %v", len(c.Certificate), err)
	}
	alone := Pair{Leaf: leaf, Chains: [][]byte{testsign.PEM(leaf)}}
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
