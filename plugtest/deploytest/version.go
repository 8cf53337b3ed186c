package deploytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

// CA signs versions for tests. Safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a CA with a new key.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Test Intermediate"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * 365 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &CA{cert, key}
}

// PEM returns the CA's certificate.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Version makes a version of the certificate name, as if it had been issued as
// number seq and published as n = seq. The names are those of the certificate;
// without any it is for <name>.example.
func (ca *CA) Version(t testing.TB, name string, seq uint64, names ...string) *inkan.Version {
	t.Helper()
	if len(names) == 0 {
		names = []string{name + ".example"}
	}
	ids, err := inkan.ParseIdentifiers(names)
	if err != nil {
		t.Fatal(err)
	}
	key, err := inkan.GenerateKey(inkan.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes([]byte(rand.Text())),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(90 * 24 * time.Hour),
		DNSNames:     names,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	chain := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), ca.PEM())
	return &inkan.Version{
		Name: name, N: seq, Seq: seq, ID: fmt.Sprintf("%016x", seq*0x9e3779b97f4a7c15),
		At: time.Now(), Identifiers: ids,
		Pairs: []inkan.Pair{{
			KeyType: inkan.ECDSAP256, Chains: [][]byte{chain}, Leaf: leaf,
			Key: &inkan.StoredKey{Form: inkan.PlainKey, Data: keyPEM},
			CA:  "test", Account: "default", Source: "issued",
		}},
	}
}

// WithoutKey returns v as it is when the CSR was the user's own.
func WithoutKey(v *inkan.Version) *inkan.Version {
	c := *v
	c.Pairs = slices.Clone(v.Pairs)
	c.Pairs[0].Key = nil
	return &c
}
