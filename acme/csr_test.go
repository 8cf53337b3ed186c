package acme

import (
	"compress/gzip"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// A19: must-staple is refused by name, with the date, before anything is asked.
func TestA19MustStaple(t *testing.T) {
	key, err := inkan.GenerateKey(inkan.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	csr := func(extra ...pkix.Extension) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example.com"}, ExtraExtensions: extra}, key.Signer())
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	if err := CheckCSR(csr()); err != nil {
		t.Error(err)
	}
	wantError(t, CheckCSR([]byte("no")), inkan.Rejected, "cannot be parsed")
	staple := csr(pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
	wantError(t, CheckCSR(staple), inkan.Rejected, "must-staple", "2025-08-06")

	w := newWorld(t, testca.Options{}, nil)
	r, _ := w.request("a.example.com")
	r.Request.CSR = staple
	_, err = w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "must-staple")
	if len(w.ca.Requests()) != 0 {
		t.Error("the CA was asked")
	}
}

// zipBomb writes n zero bytes, compressed.
func zipBomb(w io.Writer, n int) {
	z := gzip.NewWriter(w)
	defer z.Close()
	zeros := make([]byte, 1<<20)
	for range n / len(zeros) {
		if _, err := z.Write(zeros); err != nil {
			return
		}
	}
}
