package testca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// WrongKind is what is wrong with a downloaded certificate.
type WrongKind string

// The ways in which [WrongCertificate] spoils a download.
const (
	OtherKey      WrongKind = "other key"      // for a key that nobody has
	MissingName   WrongKind = "missing name"   // lacks the last name
	ExtraName     WrongKind = "extra name"     // has evil.example besides
	Expired       WrongKind = "expired"        // ended an hour ago
	NotYetValid   WrongKind = "not yet valid"  // begins in a month
	WrongIssuer   WrongKind = "wrong issuer"   // the next certificate did not sign it
	DuplicateLeaf WrongKind = "duplicate leaf" // twice in the chain
	TextBefore    WrongKind = "text"           // explanations around the blocks
	WithKey       WrongKind = "private key"    // a PRIVATE KEY block behind the chain
	EmptyChain    WrongKind = "empty"          // no bytes
	HalfChain     WrongKind = "half"           // cut in the middle of a block
)

// WrongKinds returns all of them.
func WrongKinds() []WrongKind {
	return []WrongKind{OtherKey, MissingName, ExtraName, Expired, NotYetValid, WrongIssuer, DuplicateLeaf, TextBefore, WithKey, EmptyChain, HalfChain}
}

// WrongCertificate spoils the chains that are downloaded. Those with a leaf of
// another content are signed by an issuer of their own, whose certificate
// follows the leaf.
func WrongCertificate(kind WrongKind) Fault {
	return EditBody(func(chain []byte) []byte {
		spoilt, err := spoil(chain, kind)
		if err != nil {
			return []byte(fmt.Sprintf("testca: %v", err)) // wrong in any case, and tells why
		}
		return spoilt
	})
}

func spoil(chain []byte, kind WrongKind) ([]byte, error) {
	block, rest := pem.Decode(chain)
	if block == nil {
		return nil, fmt.Errorf("the CA sent no chain")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: leaf.SerialNumber, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		DNSNames: slices.Clone(leaf.DNSNames), IPAddresses: slices.Clone(leaf.IPAddresses),
		KeyUsage: leaf.KeyUsage, ExtKeyUsage: leaf.ExtKeyUsage,
	}
	public := leaf.PublicKey
	switch kind {
	case EmptyChain:
		return nil, nil
	case HalfChain:
		return chain[:len(chain)/2], nil
	case TextBefore:
		return slices.Concat([]byte("Your certificate, with kind regards:\n"), chain), nil
	case DuplicateLeaf:
		return slices.Concat(pemCertificate(block.Bytes), chain), nil
	case WithKey:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return slices.Concat(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
	case OtherKey:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		public = key.Public()
	case MissingName:
		if len(template.DNSNames) > 0 {
			template.DNSNames = template.DNSNames[:len(template.DNSNames)-1]
		}
	case ExtraName:
		template.DNSNames = append(template.DNSNames, "evil.example")
	case Expired:
		template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
	case NotYetValid:
		template.NotBefore, template.NotAfter = time.Now().Add(30*24*time.Hour), time.Now().Add(90*24*time.Hour)
	case WrongIssuer:
		// signed anew below, with the true issuers behind it
	default:
		return nil, fmt.Errorf("unknown kind %q", kind)
	}
	der, issuer, err := signedElsewhere(template, public)
	if err != nil {
		return nil, err
	}
	if kind == WrongIssuer {
		return slices.Concat(pemCertificate(der), bytes.TrimSpace(rest), []byte("\n")), nil
	}
	return slices.Concat(pemCertificate(der), pemCertificate(issuer)), nil
}

// signedElsewhere makes an issuer and lets it sign.
func signedElsewhere(template *x509.Certificate, public crypto.PublicKey) (leaf, issuer []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "testca stranger"},
		NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(1000 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	if issuer, err = x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key); err != nil {
		return nil, nil, err
	}
	leaf, err = x509.CreateCertificate(rand.Reader, template, ca, public, key)
	return leaf, issuer, err
}
