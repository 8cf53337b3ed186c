package inkan

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// maxChain bounds what we accept as one chain.
const (
	maxChainBytes = 256 << 10
	maxChainCerts = 12
)

// clockTolerance is how far the local clock may be behind the CA's: a notBefore
// that is no further ahead is accepted.
const clockTolerance = 24 * time.Hour

// ParseChain reads a PEM bundle. RFC 8555 section 11.4: anything but
// CERTIFICATE blocks must be refused, so this refuses other blocks, text
// between them, and an empty bundle.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	fail := func(format string, args ...any) error {
		return Errorf(Bug, "certificate chain", format, args...)
	}
	if len(data) > maxChainBytes {
		return nil, fail("it has %d bytes; at most %d are accepted", len(data), maxChainBytes)
	}
	var certs []*x509.Certificate
	rest := bytes.TrimSpace(data)
	for len(rest) > 0 {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, fail("it holds something other than certificates")
		}
		// pem.Decode skips what it cannot read; here nothing may be skipped.
		block, behind := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 ||
			bytes.Count(rest[:len(rest)-len(behind)], []byte("-----BEGIN")) != 1 {
			return nil, fail("it holds something other than certificates")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fail("a certificate in it cannot be read: %s", Printable(err.Error(), 200))
		}
		if certs = append(certs, c); len(certs) > maxChainCerts {
			return nil, fail("it has more than %d certificates", maxChainCerts)
		}
		rest = bytes.TrimLeft(behind, " \t\r\n")
	}
	if len(certs) == 0 {
		return nil, fail("it is empty")
	}
	return certs, nil
}

// CheckChain checks a bundle against what was asked for and returns the leaf.
// Each certificate must be signed by the next. The leaf must hold the key, name
// exactly the identifiers and be valid now. No trust root is needed. The error is
// of kind Bug, because no CA may answer with such a bundle.
func CheckChain(bundle []byte, key crypto.PublicKey, ids []Identifier, now time.Time) (*x509.Certificate, error) {
	certs, err := ParseChain(bundle)
	if err != nil {
		return nil, err
	}
	fail := func(format string, args ...any) error {
		return Errorf(Bug, "certificate chain", format, args...)
	}
	leaf := certs[0]
	for i, c := range certs[:len(certs)-1] {
		if err := c.CheckSignatureFrom(certs[i+1]); err != nil {
			return nil, fail("certificate %d in it is not signed by the next one", i+1)
		}
		if !now.Before(certs[i+1].NotAfter) {
			return nil, fail("the issuer %s in it expired on %s", Printable(certs[i+1].Subject.CommonName, 80), certs[i+1].NotAfter.UTC().Format(time.DateOnly))
		}
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key) {
		return nil, fail("the certificate is for another key")
	}
	if leaf.IsCA {
		return nil, fail("the first certificate in it is a CA certificate")
	}
	if got, want := leafIdentifiers(leaf), sortedIdentifiers(ids); !slices.Equal(got, want) {
		return nil, fail("the certificate is for other names: %s", Printable(strings.Join(got, " "), 300))
	}
	switch {
	case !now.Before(leaf.NotAfter):
		return nil, fail("the certificate expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case leaf.NotBefore.After(now.Add(clockTolerance)):
		return nil, fail("the certificate is not valid before %s; is the clock of this machine right?", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return leaf, nil
}

func leafIdentifiers(leaf *x509.Certificate) []string {
	var ids []string
	for _, n := range leaf.DNSNames {
		ids = append(ids, DNS+":"+strings.ToLower(n))
	}
	for _, ip := range leaf.IPAddresses {
		id, err := ParseIdentifier(ip.String())
		if err != nil {
			id.Value = Printable(ip.String(), 60) // equal to nothing that was asked
		}
		ids = append(ids, IP+":"+id.Value)
	}
	for range len(leaf.EmailAddresses) + len(leaf.URIs) {
		ids = append(ids, "other:")
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func sortedIdentifiers(ids []Identifier) []string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = id.Type + ":" + id.Value
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// PreferredChain returns the index of the chain whose topmost certificate was
// issued by the given common name (or carries it), and whether one was found.
// Without a preference or a match it is the first, the CA's default.
func PreferredChain(chains [][]byte, issuer string) (index int, found bool) {
	if issuer == "" {
		return 0, true
	}
	for i, chain := range chains {
		certs, err := ParseChain(chain)
		if err != nil {
			continue
		}
		top := certs[len(certs)-1]
		if top.Issuer.CommonName == issuer || len(certs) > 1 && top.Subject.CommonName == issuer {
			return i, true
		}
	}
	return 0, false
}
