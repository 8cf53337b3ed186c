package inkan

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"
)

var chainNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// TestA11Chains: what a CA must not answer is refused, and the reason said.
func TestA11Chains(t *testing.T) {
	now := chainNow
	root := newTestCA(t, "root", nil, now.Add(10*365*day))
	inter := newTestCA(t, "intermediate", root, now.Add(5*365*day))
	other := newTestCA(t, "other root", nil, now.Add(10*365*day))
	old := newTestCA(t, "old cross-sign", nil, now.Add(-day))
	key, stranger := testKey(t, ECDSAP256), testKey(t, ECDSAP256)
	from, to := now.Add(-time.Hour), now.Add(90*day)
	names := []string{"a.example", "*.b.example", "192.0.2.1"}
	leaf := func(edit func(*x509.Certificate), names ...string) *x509.Certificate {
		return inter.leaf(t, key.Public(), names, from, to, edit)
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
		{"leaf and intermediate", pemOf(good, inter.cert), ""},
		{"with the root", pemOf(good, inter.cert, root.cert), ""},
		{"leaf alone", pemOf(good), ""},
		{"CRLF and blank lines", append([]byte("\r\n\n"), bytes.ReplaceAll(pemOf(good, inter.cert), []byte("\n"), []byte("\r\n"))...), ""},
		{"names in capitals", pemOf(leaf(nil, "A.example", "*.B.EXAMPLE", "192.0.2.1"), inter.cert), ""},
		{"a clock behind by an hour", pemOf(inter.leaf(t, key.Public(), names, now.Add(time.Hour), to, nil), inter.cert), ""},

		{"0 bytes", nil, "empty"},
		{"blanks", []byte(" \r\n\t"), "empty"},
		{"text", []byte("<html>busy</html>"), "something other than certificates"},
		{"text before", append([]byte("subject=/CN=a\n"), pemOf(good)...), "something other than certificates"},
		{"text between", append(append(pemOf(good), "issuer=x\n"...), pemOf(inter.cert)...), "something other than certificates"},
		{"text behind", append(pemOf(good), 'x'), "something other than certificates"},
		{"a private key", append(pemOf(good), keyPEM...), "something other than certificates"},
		{"a private key first", append(bytes.Clone(keyPEM), pemOf(good)...), "something other than certificates"},
		{"a private key in a torn block", append(append(bytes.Clone(broken), keyPEM...), pemOf(good)...), "something other than certificates"},
		{"a torn block before", append(bytes.Clone(broken), pemOf(good)...), "something other than certificates"},
		{"headers", headers, "something other than certificates"},
		{"garbage in a block", garbage, "cannot be read"},
		{"a truncated block", pemOf(good)[:200], "something other than certificates"},
		{"13 certificates", pemOf(good, inter.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert, root.cert), "more than 12"},
		{"more than 256 KiB", bytes.Repeat([]byte("\n"), 300<<10), "bytes"},

		{"of another key", pemOf(inter.leaf(t, stranger.Public(), names, from, to, nil), inter.cert), "another key"},
		{"a missing name", pemOf(leaf(nil, "a.example", "192.0.2.1"), inter.cert), "other names"},
		{"an extra name", pemOf(leaf(nil, append(names, "evil.example")...), inter.cert), "other names: dns:*.b.example dns:a.example dns:evil.example ip:192.0.2.1"},
		{"another address", pemOf(leaf(nil, "a.example", "*.b.example", "192.0.2.2"), inter.cert), "other names"},
		{"a name for an address", pemOf(leaf(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "192.0.2.1"); c.IPAddresses = nil }, names...), inter.cert), "other names"},
		{"a mail address besides", pemOf(leaf(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@a.example"} }, names...), inter.cert), "other names"},
		{"a URI besides", pemOf(leaf(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}} }, names...), inter.cert), "other names"},
		{"no names", pemOf(leaf(nil), inter.cert), "other names"},
		{"expired", pemOf(inter.leaf(t, key.Public(), names, now.Add(-90*day), now.Add(-time.Second), nil), inter.cert), "expired on"},
		{"valid in two days", pemOf(inter.leaf(t, key.Public(), names, now.Add(2*day), to, nil), inter.cert), "not valid before"},
		{"of the wrong issuer", pemOf(good, other.cert), "certificate 1 in it is not signed by the next one"},
		{"the wrong issuer above", pemOf(good, inter.cert, other.cert), "certificate 2 in it is not signed by the next one"},
		{"the leaf twice", pemOf(good, good, inter.cert), "not signed by the next one"},
		{"in the wrong order", pemOf(inter.cert, good), "not signed by the next one"},
		{"an expired issuer", pemOf(old.leaf(t, key.Public(), names, from, to, nil), old.cert), "the issuer old cross-sign in it expired"},
		{"a CA certificate", pemOf(leaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, names...), inter.cert), "one of a CA"},
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
	ca := newTestCA(t, "evil\x1b[31m\r\nroot", nil, chainNow.Add(-day))
	key := testKey(t, ECDSAP256)
	leaf := ca.leaf(t, key.Public(), []string{"a.example"}, chainNow.Add(-day), chainNow.Add(day), nil)
	_, err := CheckChain(pemOf(leaf, ca.cert), key.Public(), dnsIDs("a.example"), chainNow)
	if err == nil || strings.ContainsFunc(err.Error(), hidden) {
		t.Errorf("got %v, want an error without control characters", err)
	}
}

// TestA10Chains: chains that are not valid today are not offered to the choice;
// a preferred one that is not there is no failure.
func TestA10Chains(t *testing.T) {
	now := chainNow
	rootA := newTestCA(t, "root a", nil, now.Add(3650*day))
	rootB := newTestCA(t, "root b", nil, now.Add(3650*day))
	rootOld := newTestCA(t, "root old", nil, now.Add(-day))
	inter := newTestCA(t, "intermediate", rootA, now.Add(1000*day))
	cross := func(root *testCA) *x509.Certificate {
		template := *inter.cert
		return root.leaf(t, inter.key.Public(), nil, now.Add(-day), now.Add(900*day), func(c *x509.Certificate) {
			c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = template.Subject, true, true, x509.KeyUsageCertSign
		})
	}
	key := testKey(t, ECDSAP256)
	leaf := inter.leaf(t, key.Public(), []string{"a.example"}, now.Add(-time.Hour), now.Add(90*day), nil)
	a := pemOf(leaf, inter.cert)
	b := pemOf(leaf, cross(rootB))
	expired := pemOf(leaf, cross(rootOld), rootOld.cert)
	withRoot := pemOf(leaf, inter.cert, rootA.cert)
	junk := []byte("junk")

	sound, err := soundChains([][]byte{expired, a, junk, b}, key.Public(), dnsIDs("a.example"), now)
	if err != nil || len(sound) != 2 || !bytes.Equal(sound[0], a) || !bytes.Equal(sound[1], b) {
		t.Fatalf("got %d chains, %v; want the two that are valid, in their order", len(sound), err)
	}
	if _, err := soundChains([][]byte{expired, junk}, key.Public(), dnsIDs("a.example"), now); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v, want the reason for the first chain", err)
	}
	if _, err := soundChains(nil, key.Public(), dnsIDs("a.example"), now); err == nil {
		t.Error("no chain at all was accepted")
	}
	for _, c := range []struct {
		issuer string
		index  int
		found  bool
	}{{"", 0, true}, {"root a", 0, true}, {"root b", 1, true}, {"root old", 0, false}, {"intermediate", 0, true}, {"a.example", 0, false}} {
		if i, found := PreferredChain(sound, c.issuer); i != c.index || found != c.found {
			t.Errorf("%q: got %d %v, want %d %v", c.issuer, i, found, c.index, c.found)
		}
	}
	if i, found := PreferredChain([][]byte{junk, b, withRoot}, "root a"); i != 2 || !found {
		t.Errorf("got %d %v, want the chain that carries the root", i, found)
	}
}

// FuzzParseChain: whatever is accepted is certificates and nothing else.
func FuzzParseChain(f *testing.F) {
	ca := newTestCA(f, "root", nil, chainNow.Add(3650*day))
	leaf := ca.leaf(f, testKey(f, ECDSAP256).Public(), []string{"a.example"}, chainNow, chainNow.Add(day), nil)
	f.Add(pemOf(leaf, ca.cert))
	f.Add(pemOf(leaf))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n!!!\n" + string(pemOf(leaf))))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nA: b\n\n" + string(pemOf(leaf)[28:])))
	f.Add(append(pemOf(leaf), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"...))
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
		again, err := ParseChain(pemOf(certs...))
		if err != nil || len(again) != len(certs) {
			t.Errorf("written again it is refused: %v", err)
		}
		// Nothing but the blocks: line breaks apart, the same length.
		squeeze := func(b []byte) int { return len(bytes.Join(bytes.Fields(b), nil)) }
		if got, want := squeeze(data), squeeze(pemOf(certs...)); got != want {
			t.Errorf("%d bytes that are not blank, want %d", got, want)
		}
	})
}
