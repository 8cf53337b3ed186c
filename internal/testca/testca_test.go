package testca

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"testing"
	"time"
)

func responder(t testing.TB, c *CA) *Responder {
	t.Helper()
	r, err := c.Respond()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func floor(t testing.TB, c *CA) *Floor {
	t.Helper()
	f, err := NewFloor(t.Context(), c.HTTPClient(), c.DirectoryURL)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// issue gets n certificates, w in flight, and reports the time it took.
func issue(t testing.TB, f *Floor, show func(token, keyAuth string) error, n, w int) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	work := make(chan int)
	var workers sync.WaitGroup
	var once sync.Once
	for range w {
		workers.Go(func() {
			for i := range work {
				if _, _, err := f.Issue(ctx, []string{fmt.Sprintf("n%d.example.test", i)}, show); err != nil {
					cancel()
					once.Do(func() { t.Errorf("order %d: %v", i, err) })
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	workers.Wait()
	return time.Since(start)
}

func TestIssue(t *testing.T) {
	c := Start(t, Options{ChainLength: 2, AlternateRoots: 1})
	chain, key, err := floor(t, c).Issue(t.Context(), []string{"a.example.test", "b.example.test"}, responder(t, c).Show)
	if err != nil {
		t.Fatal(err)
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	if len(certs) != 3 {
		t.Fatalf("chain of %d certificates, want leaf and two intermediates", len(certs))
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		t.Error("leaf is for another key")
	}
	between := x509.NewCertPool()
	for _, cert := range certs[1:] {
		between.AddCert(cert)
	}
	for i := range 2 {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(c.IssuerRootPEM(i)) {
			t.Fatalf("no root %d", i)
		}
		_, err := certs[0].Verify(x509.VerifyOptions{DNSName: "b.example.test", Roots: roots, Intermediates: between})
		if (err == nil) != (i == 0) {
			t.Errorf("default chain against root %d: %v", i, err)
		}
	}
	if c.IssuerRootPEM(2) != nil {
		t.Error("a third root")
	}
	if got := c.Certificates(); len(got) != 1 || string(got[0]) != string(certs[0].Raw) {
		t.Errorf("recorded %d certificates, or another one", len(got))
	}
	if c.Orders() != 1 || c.Count(PathFinalize) != 1 || c.Count(PathAuthz) != 2 || c.Connections() != 1 {
		t.Errorf("recorded %d orders, %d finalize, %d authorization reads, %d connections", c.Orders(), c.Count(PathFinalize), c.Count(PathAuthz), c.Connections())
	}
	for _, r := range c.Requests() {
		if r.Status < 200 || r.Status > 299 {
			t.Errorf("%s %s: status %d", r.Method, r.Path, r.Status)
		}
	}
}

func BenchmarkHundred(b *testing.B) {
	c := Start(b, Options{})
	show := responder(b, c).Show
	f := floor(b, c)
	for b.Loop() {
		issue(b, f, show, 100, 16)
	}
}
