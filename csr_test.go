package inkan

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCSRRoundTrip(t *testing.T) {
	ids := dnsIDs("a.example", "*.b.example", "192.0.2.1", "2001:db8::1")
	for _, kt := range []KeyType{ECDSAP256, ECDSAP384, ECDSAP521, RSA2048, Ed25519} {
		der, err := NewCSR(testKey(t, kt), ids)
		if err != nil {
			t.Fatalf("%s: %v", kt, err)
		}
		asPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		old := pem.EncodeToMemory(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: der})
		for _, data := range [][]byte{der, asPEM, old} {
			gotDER, gotIDs, gotType, err := ParseCSR(data)
			if err != nil || gotType != kt || !bytes.Equal(gotDER, der) {
				t.Fatalf("%s: type %s, %v", kt, gotType, err)
			}
			if diff := cmp.Diff(sortedIdentifiers(ids), sortedIdentifiers(gotIDs)); diff != "" {
				t.Errorf("%s: %s", kt, diff)
			}
		}
		parsed, err := x509.ParseCertificateRequest(der)
		if err != nil || parsed.Subject.CommonName != "" {
			t.Errorf("%s: common name %q, %v; want none", kt, parsed.Subject.CommonName, err)
		}
	}
}

func TestCSROfUser(t *testing.T) {
	key := testKey(t, ECDSAP256)
	tlsFeature := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
	for _, c := range []struct {
		what  string
		csr   x509.CertificateRequest
		want  []string
		fault string
	}{
		{"common name only", x509.CertificateRequest{Subject: pkix.Name{CommonName: "A.example"}}, []string{"a.example"}, ""},
		{"common name folded in", x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"b.example", "a.example"}}, []string{"b.example", "a.example"}, ""},
		{"addresses", x509.CertificateRequest{IPAddresses: []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")}}, []string{"192.0.2.1", "2001:db8::1"}, ""},
		{"A19 must-staple", x509.CertificateRequest{DNSNames: []string{"a.example"}, ExtraExtensions: []pkix.Extension{{Id: tlsFeature, Value: []byte{0x30, 3, 2, 1, 5}}}}, nil, "must-staple"},
		{"a person's name", x509.CertificateRequest{Subject: pkix.Name{CommonName: "Example Ltd"}, DNSNames: []string{"a.example"}}, nil, "Example Ltd"},
		{"a mail address", x509.CertificateRequest{DNSNames: []string{"a.example"}, EmailAddresses: []string{"x@a.example"}}, nil, "e-mail"},
		{"a URI", x509.CertificateRequest{DNSNames: []string{"a.example"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "a"}}}, nil, "URIs"},
		{"nothing", x509.CertificateRequest{}, nil, "at least one name"},
	} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &c.csr, key.Signer())
		if err != nil {
			t.Fatal(err)
		}
		_, ids, _, err := ParseCSR(der)
		switch {
		case c.fault == "":
			if diff := cmp.Diff(dnsIDs(c.want...), ids); err != nil || diff != "" {
				t.Errorf("%s: %v %s", c.what, err, diff)
			}
		case err == nil || KindOf(err) != Operator || !strings.Contains(err.Error(), c.fault):
			t.Errorf("%s: %v, want an error of kind operator that says %q", c.what, err, c.fault)
		}
		if c.what == "A19 must-staple" && !strings.Contains(strings.Join(HintsOf(err), " "), "2025-08-06") {
			t.Errorf("%s: the hints %q do not tell since when", c.what, HintsOf(err))
		}
	}
}

func TestCSRBroken(t *testing.T) {
	der, err := NewCSR(testKey(t, ECDSAP256), dnsIDs("a.example"))
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(der)
	forged[len(forged)-1] ^= 1
	weak := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for what, data := range map[string][]byte{"empty": nil, "text": []byte("hello"), "a wrong signature": forged, "truncated": der[:len(der)-5], "a certificate": weak} {
		if _, _, _, err := ParseCSR(data); err == nil || KindOf(err) != Operator || strings.ContainsFunc(err.Error(), hidden) {
			t.Errorf("%s: %v, want an error of kind operator", what, err)
		}
	}
}

// FuzzParseCSR: what is accepted names canonical identifiers and nothing else.
func FuzzParseCSR(f *testing.F) {
	ids := []Identifier{{DNS, "a.example"}, {IP, "192.0.2.1"}}
	der, err := NewCSR(testKey(f, ECDSAP256), ids)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE\x1b-----\nAAAA\n-----END CERTIFICATE\x1b-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		der, ids, kt, err := ParseCSR(data)
		if err != nil {
			if strings.ContainsFunc(err.Error(), hidden) {
				t.Errorf("error %q", err)
			}
			return
		}
		if len(der) == 0 || !kt.Valid() {
			t.Errorf("key type %q of %d bytes", kt, len(der))
		}
		for _, id := range ids {
			if again, err := ParseIdentifier(id.Value); err != nil || again != id {
				t.Errorf("identifier %v reads as %v, %v", id, again, err)
			}
		}
	})
}
