package inkan

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/internal/testsign"
)

// TestA11Chains: what a CA must not answer is refused, and the reason said.
func TestA11Chains(t *testing.T) {
	now := chainNow
	root := testsign.NewCA(t, "root", nil, now.Add(10*365*day))
	inter := testsign.NewCA(t, "intermediate", root, now.Add(5*365*day))
	other := testsign.NewCA(t, "other root", nil, now.Add(10*365*day))
	old := testsign.NewCA(t, "old cross-sign", nil, now.Add(-day))
	key, stranger := testKey(t, ECDSAP256), testKey(t, ECDSAP256)
	from, to := now.Add(-time.Hour), now.Add(90*day)
	names := []string{"a.example", "*.b.example", "192.0.2.1"}
	leaf := func(edit func(*x509.Certificate), names ...string) *x509.Certificate {
		return inter.Leaf(t, key.Public(), names, from, to, edit)
	}
	good := leaf(nil, names...)
	keyPEM, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	garbage := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("not DER")})
	headers := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Raw, Headers: map[string]string{"X": "y"}})
	broken := []byte("-----BEGIN CERTIFICATE-----\n!!!\n")

	for _, c := range []struct {
		what   string
		bundle []byte
		fault  string
	}{
		{"leaf and intermediate", testsign.PEM(good, inter.Cert), ""},
		{"with the root", testsign.PEM(good, inter.Cert, root.Cert), ""},
		{"leaf alone", testsign.PEM(good), ""},
		{"CRLF and blank lines", append([]byte("\r\n\n"), bytes.ReplaceAll(testsign.PEM(good, inter.Cert), []byte("\n"), []byte("\r\n"))...), ""},
		{"names in capitals", testsign.PEM(leaf(nil, "A.example", "*.B.EXAMPLE", "192.0.2.1"), inter.Cert), ""},
		{"a clock behind by an hour", testsign.PEM(inter.Leaf(t, key.Public(), names, now.Add(time.Hour), to, nil), inter.Cert), ""},

		{"0 bytes", nil, "empty"},
		{"blanks", []byte(" \r\n\t"), "empty"},
		{"text", []byte("<html>busy</html>"), "something other than certificates"},
		{"text before", append([]byte("subject=/CN=a\n"), testsign.PEM(good)...), "something other than certificates"},
		{"text between", append(append(testsign.PEM(good), "issuer=x\n"...), testsign.PEM(inter.Cert)...), "something other than certificates"},
		{"text behind", append(testsign.PEM(good), 'x'), "something other than certificates"},
		{"a private key", append(testsign.PEM(good), keyPEM...), "something other than certificates"},
		{"a private key first", append(bytes.Clone(keyPEM), testsign.PEM(good)...), "something other than certificates"},
		{"a private key in a torn block", append(append(bytes.Clone(broken), keyPEM...), testsign.PEM(good)...), "something other than certificates"},
		{"a torn block before", append(bytes.Clone(broken), testsign.PEM(good)...), "something other than certificates"},
		{"headers", headers, "something other than certificates"},
		{"garbage in a block", garbage, "cannot be read"},
		{"a truncated block", testsign.PEM(good)[:200], "something other than certificates"},
		{"13 certificates", testsign.PEM(good, inter.Cert, root.Cert, root.Cert, root.Cert, root.Cert, root.Cert, root.Cert, root.Cert, root.Cert, root.Cert, root.Cert, root.Cert), "more than 12"},
		{"more than 256 KiB", bytes.Repeat([]byte("\n"), 300<<10), "bytes"},

		{"of another key", testsign.PEM(inter.Leaf(t, stranger.Public(), names, from, to, nil), inter.Cert), "another key"},
		{"a missing name", testsign.PEM(leaf(nil, "a.example", "192.0.2.1"), inter.Cert), "other names"},
		{"an extra name", testsign.PEM(leaf(nil, append(names, "evil.example")...), inter.Cert), "other names: dns:*.b.example dns:a.example dns:evil.example ip:192.0.2.1"},
		{"another address", testsign.PEM(leaf(nil, "a.example", "*.b.example", "192.0.2.2"), inter.Cert), "other names"},
		{"a name for an address", testsign.PEM(leaf(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "192.0.2.1"); c.IPAddresses = nil }, names...), inter.Cert), "other names"},
		{"a mail address besides", testsign.PEM(leaf(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@a.example"} }, names...), inter.Cert), "other names"},
		{"a URI besides", testsign.PEM(leaf(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}} }, names...), inter.Cert), "other names"},
		{"no names", testsign.PEM(leaf(nil), inter.Cert), "other names"},
		{"expired", testsign.PEM(inter.Leaf(t, key.Public(), names, now.Add(-90*day), now.Add(-time.Second), nil), inter.Cert), "expired on"},
		{"valid in two days", testsign.PEM(inter.Leaf(t, key.Public(), names, now.Add(2*day), to, nil), inter.Cert), "not valid before"},
		{"of the wrong issuer", testsign.PEM(good, other.Cert), "certificate 1 in it is not signed by the next one"},
		{"the wrong issuer above", testsign.PEM(good, inter.Cert, other.Cert), "certificate 2 in it is not signed by the next one"},
		{"the leaf twice", testsign.PEM(good, good, inter.Cert), "not signed by the next one"},
		{"in the wrong order", testsign.PEM(inter.Cert, good), "not signed by the next one"},
		{"an expired issuer", testsign.PEM(old.Leaf(t, key.Public(), names, from, to, nil), old.Cert), "the issuer old cross-sign in it expired"},
		{"a CA certificate", testsign.PEM(leaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, names...), inter.Cert), "is a CA certificate"},
	} {
		got, err := CheckChain(c.bundle, key.Public(), dnsIDs(names...), now)
		switch {
		case c.fault == "":
			if err != nil || got == nil || !got.Equal(mustParse(t, c.bundle)[0]) {
				t.Errorf("%s: %v", c.what, err)
			}
		case err == nil:
			t.Errorf("%s: accepted", c.what)
		case KindOf(err) != Bug || !strings.Contains(err.Error(), c.fault):
			t.Errorf("%s: %q of kind %v does not say %q", c.what, err, KindOf(err), c.fault)
		}
	}
}

func mustParse(t *testing.T, bundle []byte) []*x509.Certificate {
	t.Helper()
	certs, err := ParseChain(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// TestH04ChainText: what a certificate says of itself reaches people escaped.
func TestH04ChainText(t *testing.T) {
	ca := testsign.NewCA(t, "evil\x1b[31m\r\nroot", nil, chainNow.Add(-day))
	key := testKey(t, ECDSAP256)
	leaf := ca.Leaf(t, key.Public(), []string{"a.example"}, chainNow.Add(-day), chainNow.Add(day), nil)
	_, err := CheckChain(testsign.PEM(leaf, ca.Cert), key.Public(), dnsIDs("a.example"), chainNow)
	if err == nil || strings.ContainsFunc(err.Error(), hidden) {
		t.Errorf("got %v, want an error without control characters", err)
	}
}

// FuzzParseChain: whatever is accepted is certificates and nothing else.
func FuzzParseChain(f *testing.F) {
	ca := testsign.NewCA(f, "root", nil, chainNow.Add(3650*day))
	leaf := ca.Leaf(f, testKey(f, ECDSAP256).Public(), []string{"a.example"}, chainNow, chainNow.Add(day), nil)
	f.Add(testsign.PEM(leaf, ca.Cert))
	f.Add(testsign.PEM(leaf))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n!!!\n" + string(testsign.PEM(leaf))))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nA: b\n\n" + string(testsign.PEM(leaf)[28:])))
	f.Add(append(testsign.PEM(leaf), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := ParseChain(data)
		if err != nil {
			if KindOf(err) != Bug || strings.ContainsFunc(err.Error(), hidden) {
				t.Errorf("error %q of kind %v", err, KindOf(err))
			}
			return
		}
		if len(certs) == 0 || len(certs) > maxChainCerts {
			t.Fatalf("%d certificates", len(certs))
		}
		if n := bytes.Count(data, []byte("-----BEGIN")); n != len(certs) {
			t.Errorf("%d blocks, %d certificates", n, len(certs))
		}
		again, err := ParseChain(testsign.PEM(certs...))
		if err != nil || len(again) != len(certs) {
			t.Errorf("written again it is refused: %v", err)
		}
		// Nothing but the blocks: line breaks apart, the same length.
		squeeze := func(b []byte) int { return len(bytes.Join(bytes.Fields(b), nil)) }
		if got, want := squeeze(data), squeeze(testsign.PEM(certs...)); got != want {
			t.Errorf("%d bytes that are not blank, want %d", got, want)
		}
	})
}

var chainNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

var errTime = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
