package inkan

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"slices"
)

// NewCSR makes a certificate signing request for the identifiers: subject
// alternative names only, no common name (RFC 8555 section 7.4 asks for no
// more, and the newer profiles of CAs put none into the certificate).
func NewCSR(key *PrivateKey, ids []Identifier) ([]byte, error) {
	t := &x509.CertificateRequest{}
	for _, id := range ids {
		if id.Type == IP {
			t.IPAddresses = append(t.IPAddresses, net.ParseIP(id.Value))
		} else {
			t.DNSNames = append(t.DNSNames, id.Value)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, key.Signer())
	if err != nil {
		return nil, Errorf(Bug, "making the CSR", "%w", err)
	}
	return der, nil
}

// ParseCSR reads a user's own CSR, in PEM or DER, and returns it in DER with
// its identifiers and key type. Must-staple is refused.
func ParseCSR(data []byte) (der []byte, ids []Identifier, kt KeyType, err error) {
	fail := func(format string, args ...any) *Error {
		return Errorf(Operator, "certificate signing request", format, args...)
	}
	der = data
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, nil, "", fail("the file holds a %s", Printable(block.Type, 40))
		}
		der = block.Bytes
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, nil, "", fail("it cannot be read: %s", Printable(err.Error(), 200))
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, nil, "", fail("its signature does not fit its key")
	}
	if slices.ContainsFunc(csr.Extensions, mustStaple) {
		return nil, nil, "", fail("it asks for OCSP must-staple").WithHint("Let's Encrypt ended OCSP on 2025-08-06 and refuses such orders; make the CSR without the TLS feature extension")
	}
	var names []string
	names = append(names, csr.DNSNames...)
	for _, ip := range csr.IPAddresses {
		names = append(names, ip.String())
	}
	if cn := csr.Subject.CommonName; cn != "" {
		names = append(names, cn)
	}
	if len(csr.EmailAddresses)+len(csr.URIs) > 0 {
		return nil, nil, "", fail("it names e-mail addresses or URIs; only DNS names and IP addresses are possible")
	}
	if ids, err = ParseIdentifiers(names); err != nil {
		return nil, nil, "", err
	}
	if kt, err = KeyTypeOf(csr.PublicKey); err != nil {
		return nil, nil, "", err
	}
	return der, ids, kt, nil
}

// mustStaple recognises the TLS feature extension of RFC 7633.
func mustStaple(e pkix.Extension) bool {
	return e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24})
}
