// Package testsign signs certificates for models of a CA in tests: what is left
// of a CA when the protocol is modelled by the test itself.
package testsign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// Authority is a root that signs leaves. It may be used from several goroutines
// at once.
type Authority struct {
	Key  *ecdsa.PrivateKey
	Cert *x509.Certificate
}

// New returns an authority that is valid from a century before now to two after
// it. There being no randomness is the one thing that can go wrong, so it
// panics.
func New(now time.Time) *Authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "model root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.AddDate(-100, 0, 0), NotAfter: now.AddDate(200, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &Authority{key, cert}
}

// Sign answers a certificate request in DER with a leaf for its names and its
// key, and the root behind it, in PEM.
func (a *Authority) Sign(csrDER []byte, serial int64, notBefore, notAfter time.Time) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, NotBefore: notBefore, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, csr.PublicKey, a.Key)
	if err != nil {
		return nil, err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})...), nil
}
