package acme

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"github.com/inkan-acme/inkan"
)

// CheckCSR parses a certificate request in DER and refuses what no CA signs
// any more: a must-staple extension (RFC 7633). Let's Encrypt ended OCSP on
// 2025-08-06 and refuses such requests when the order is finalized, so a saved
// option made every renewal fail (reliability A19).
func CheckCSR(der []byte) error {
	const op = "certificate request"
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return inkan.Errorf(inkan.Rejected, op, "it cannot be parsed: %w", printableError{err})
	}
	mustStaple := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
	for _, e := range csr.Extensions {
		if slices.Equal(e.Id, mustStaple) {
			return inkan.Errorf(inkan.Rejected, op, "it asks for must-staple (the TLS feature extension, OID %s), but OCSP ended at Let's Encrypt on 2025-08-06", mustStaple).
				WithHint("make the certificate request again without must-staple")
		}
	}
	return nil
}
