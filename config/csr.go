package config

import (
	"crypto/x509"
	"encoding/pem"
	"slices"

	"github.com/inkan-acme/inkan"
)

// CSR is somebody's own certificate signing request.
type CSR struct {
	DER         []byte
	Identifiers []inkan.Identifier // in the order of the request, the common name first if it is one of them
	KeyType     inkan.KeyType
}

// ParseCSR reads a PKCS #10 request in PEM or DER, checks its signature and
// takes its names. A request for must-staple, e-mail addresses or URIs is
// refused, as are names that ACME has no identifier for. The error is of kind
// Operator.
func ParseCSR(data []byte) (*CSR, error) {
	fail := func(format string, args ...any) (*CSR, error) {
		return nil, inkan.Errorf(inkan.Operator, "certificate signing request", format, args...)
	}
	der := data
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE REQUEST" || block.Type == "NEW CERTIFICATE REQUEST" {
			der = block.Bytes
			break
		}
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return fail("it is neither PEM nor DER of a PKCS #10 request")
	}
	if err := req.CheckSignature(); err != nil {
		return fail("its signature is wrong, so it was not made by the holder of its key")
	}
	if len(req.EmailAddresses) > 0 || len(req.URIs) > 0 {
		return fail("it asks for e-mail addresses or URIs, which no ACME CA certifies")
	}
	for _, e := range req.Extensions {
		if e.Id.Equal([]int{1, 3, 6, 1, 5, 5, 7, 1, 24}) { // RFC 7633
			return fail("it asks for must-staple, which CAs no longer issue since they ended OCSP in 2025")
		}
	}
	names := slices.Clone(req.DNSNames)
	for _, ip := range req.IPAddresses {
		names = append(names, ip.String())
	}
	if cn := req.Subject.CommonName; cn != "" && !slices.Contains(names, cn) {
		names = append([]string{cn}, names...)
	}
	ids, err := inkan.ParseIdentifiers(names)
	if err != nil {
		return nil, err
	}
	kt, err := inkan.KeyTypeOf(req.PublicKey)
	if err != nil {
		return nil, err
	}
	return &CSR{der, ids, kt}, nil
}
