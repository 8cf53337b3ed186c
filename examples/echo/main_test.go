package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
)

// The example itself, against Pebble: HTTPS works, and a renewal shows without
// a restart.
func TestServesAndRenews(t *testing.T) {
	ca := testca.Start(t, testca.Options{})
	dir := t.TempDir()
	root := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(root, ca.RootsPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newSite(options{data: filepath.Join(dir, "data"), domains: "www.example.com,example.com",
		email: "ops@example.com", ca: ca.DirectoryURL, caRoot: root, agreeTerms: true})
	if err != nil {
		t.Fatal(err)
	}
	s.watch = 10 * time.Millisecond
	issued := make(chan struct{}, 1)
	s.manager.Progress = func(p engine.Progress) {
		if p.Done {
			select {
			case issued <- struct{}{}:
			default:
			}
		}
	}
	plain := listen(t, "127.0.0.1:"+strconv.Itoa(ca.HTTPPort))
	secure := listen(t, "127.0.0.1:0")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, plain, secure) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}()

	select {
	case <-issued:
	case <-ctx.Done():
		t.Fatal("nothing was issued in time")
	}
	first := waitFor(t, ctx, ca, secure, func(*x509.Certificate) bool { return true })
	if got := first.DNSNames; len(got) != 2 {
		t.Errorf("the certificate is for %v", got)
	}
	plan, err := s.manager.Plan(ctx, engine.PlanOptions{Scope: engine.Named("site"), Renew: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.manager.Run(ctx, plan).Err(); err != nil {
		t.Fatalf("renew: %v", err)
	}
	waitFor(t, ctx, ca, secure, func(leaf *x509.Certificate) bool { return leaf.SerialNumber.Cmp(first.SerialNumber) != 0 })

	// Everybody but the CA is sent to HTTPS.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get("http://" + plain.Addr().String() + "/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := resp.Header.Get("Location"), "https://"+plain.Addr().String()+"/a?b=c"; got != want {
		t.Errorf("redirected to %q, want %q", got, want)
	}
}

// waitFor asks the site over HTTPS, on a new connection each time, until it
// answers with a certificate that is good, and returns that.
func waitFor(t *testing.T, ctx context.Context, ca *testca.CA, site net.Listener, good func(*x509.Certificate) bool) *x509.Certificate {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", site.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: ca.IssuerRoots()},
	}}
	for {
		if ctx.Err() != nil {
			t.Fatal("the certificate did not arrive in time")
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://www.example.com/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			continue // no certificate yet
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "hello from www.example.com\n" {
			t.Fatalf("answered %q, %v", body, err)
		}
		if leaf := resp.TLS.PeerCertificates[0]; good(leaf) {
			return leaf
		}
	}
}

// The file that tells how certificates are got is shared by copying.
func TestSameAsNetHTTP(t *testing.T) {
	var texts [2]string
	for i, file := range []string{"certificates.go", "../nethttp/certificates.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(b)
	}
	if texts[0] != texts[1] {
		t.Error("certificates.go differs from that of examples/nethttp; copy it")
	}
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
