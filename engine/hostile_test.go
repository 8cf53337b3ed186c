package engine_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
)

// TestH09Bombs: chains, requests and keys that are made to cost time and memory
// are refused before they do, and none brings the parser down.
func TestH09Bombs(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(edit func(*x509.Certificate), pub any, signer any) []byte {
		t.Helper()
		c := &x509.Certificate{SerialNumber: big.NewInt(0x7f), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.example"}}
		if edit != nil {
			edit(c)
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, pub, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	good := sign(nil, key.Public(), key)
	serial := bytes.Index(good, []byte{0x02, 0x01, 0x7f}) // INTEGER 127
	if serial < 0 {
		t.Fatal("no serial number")
	}
	negative := bytes.Clone(good)
	negative[serial+2] = 0xff
	many := func(names, length int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for i := range names {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("%s%d.example", strings.Repeat("a", length), i))
			}
		}
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// A key of an algorithm that nobody knows.
	spki, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 3}}, asn1.BitString{Bytes: make([]byte, 64), BitLength: 512}})
	if err != nil {
		t.Fatal(err)
	}
	ids := []inkan.Identifier{{Type: inkan.DNS, Value: "a.example"}}
	chain := func(data []byte) error {
		_, err := inkan.CheckChain(data, key.Public(), ids, time.Now())
		return err
	}
	csr := func(data []byte) error { _, _, _, err := inkan.ParseCSR(data); return err }
	private := func(data []byte) error { _, err := inkan.ParseKey(data); return err }
	if err := chain(encode("CERTIFICATE", good)); err != nil {
		t.Fatal(err)
	}
	var slowest time.Duration
	var largest uint64
	cases := map[string]struct {
		parse func([]byte) error
		data  []byte
	}{
		"10,000 certificates":      {chain, bytes.Repeat(encode("CERTIFICATE", good), 10_000)},
		"13 certificates":          {chain, bytes.Repeat(encode("CERTIFICATE", good), 13)},
		"10 MB of names":           {chain, encode("CERTIFICATE", sign(many(80_000, 120), key.Public(), key))},
		"100 kB of names":          {chain, encode("CERTIFICATE", sign(many(1_000, 90), key.Public(), key))},
		"a negative serial number": {chain, encode("CERTIFICATE", negative)},
		"an Ed25519 key":           {chain, encode("CERTIFICATE", sign(nil, edPublic, edKey))},
		"a P-224 key":              {chain, encode("CERTIFICATE", sign(nil, p224.Public(), p224))},
		"DER of arrays in arrays":  {chain, encode("CERTIFICATE", nested(20_000))},
		"PEM without an end":       {chain, append([]byte("-----BEGIN CERTIFICATE-----\n"), bytes.Repeat([]byte("QUFB\n"), 50_000)...)},
		"headers without an end":   {chain, append([]byte("-----BEGIN CERTIFICATE-----\n"), bytes.Repeat([]byte("a: b\n"), 50_000)...)},
		"beginnings only":          {chain, bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), 9_000)},
		"a request of arrays":      {csr, encode("CERTIFICATE REQUEST", nested(20_000))},
		"a request of beginnings":  {csr, bytes.Repeat([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"), 9_000)},
		"a key of arrays":          {private, encode("PRIVATE KEY", nested(20_000))},
		"a key of nobody's kind":   {private, encode("PRIVATE KEY", spki)},
		"a key of beginnings":      {private, bytes.Repeat([]byte("-----BEGIN PRIVATE KEY-----\n"), 9_000)},
	}
	for what, c := range cases {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		err := c.parse(c.data)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		slowest, largest = max(slowest, took), max(largest, after.TotalAlloc-before.TotalAlloc)
		if err == nil {
			t.Errorf("%s: taken", what)
		} else if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: %.2000q", what, err)
		}
	}
	t.Logf("proof: %d bombs refused, the slowest after %s, %.1f MiB allocated at most", len(cases), slowest.Round(10*time.Microsecond), float64(largest)/(1<<20))
}

// nested is DER of n sequences in each other.
func nested(n int) []byte {
	lengths := make([][]byte, n) // of each header, innermost first
	size := 0
	for i := range lengths {
		h := []byte{0x30}
		switch {
		case size < 0x80:
			h = append(h, byte(size))
		case size < 0x100:
			h = append(h, 0x81, byte(size))
		case size < 0x10000:
			h = append(h, 0x82, byte(size>>8), byte(size))
		default:
			h = append(h, 0x83, byte(size>>16), byte(size>>8), byte(size))
		}
		lengths[i] = h
		size += len(h)
	}
	der := make([]byte, 0, size)
	for i := range lengths {
		der = append(der, lengths[n-1-i]...)
	}
	return der
}
