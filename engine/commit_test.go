package engine

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testkit"
	"github.com/inkan-acme/inkan/internal/testsign"
)

// TestA10Chains: chains that are not valid today are not offered to the choice;
// a preferred one that is not there is no failure.
func TestA10Chains(t *testing.T) {
	now := chainNow
	rootA := testsign.NewCA(t, "root a", nil, now.Add(3650*day))
	rootB := testsign.NewCA(t, "root b", nil, now.Add(3650*day))
	rootOld := testsign.NewCA(t, "root old", nil, now.Add(-day))
	inter := testsign.NewCA(t, "intermediate", rootA, now.Add(1000*day))
	cross := func(root *testsign.CA) *x509.Certificate {
		template := *inter.Cert
		return root.Leaf(t, inter.Key.Public(), nil, now.Add(-day), now.Add(900*day), func(c *x509.Certificate) {
			c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = template.Subject, true, true, x509.KeyUsageCertSign
		})
	}
	key := testkit.Key(t, inkan.ECDSAP256)
	leaf := inter.Leaf(t, key.Public(), []string{"a.example"}, now.Add(-time.Hour), now.Add(90*day), nil)
	a := testsign.PEM(leaf, inter.Cert)
	b := testsign.PEM(leaf, cross(rootB))
	expired := testsign.PEM(leaf, cross(rootOld), rootOld.Cert)
	withRoot := testsign.PEM(leaf, inter.Cert, rootA.Cert)
	junk := []byte("junk")

	sound, err := soundChains([][]byte{expired, a, junk, b}, key.Public(), testkit.IDs("a.example"), now)
	if err != nil || len(sound) != 2 || !bytes.Equal(sound[0], a) || !bytes.Equal(sound[1], b) {
		t.Fatalf("got %d chains, %v; want the two that are valid, in their order", len(sound), err)
	}
	if _, err := soundChains([][]byte{expired, junk}, key.Public(), testkit.IDs("a.example"), now); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v, want the reason for the first chain", err)
	}
	if _, err := soundChains(nil, key.Public(), testkit.IDs("a.example"), now); err == nil {
		t.Error("no chain at all was accepted")
	}
	for _, c := range []struct {
		issuer string
		index  int
		found  bool
	}{{"", 0, true}, {"root a", 0, true}, {"root b", 1, true}, {"root old", 0, false}, {"intermediate", 0, true}, {"a.example", 0, false}} {
		if i, found := inkan.PreferredChain(sound, c.issuer); i != c.index || found != c.found {
			t.Errorf("%q: got %d %v, want %d %v", c.issuer, i, found, c.index, c.found)
		}
	}
	if i, found := inkan.PreferredChain([][]byte{junk, b, withRoot}, "root a"); i != 2 || !found {
		t.Errorf("got %d %v, want the chain that carries the root", i, found)
	}
}
