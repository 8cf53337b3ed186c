package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/inkan-acme/inkan/internal/testca"
)

// lines collects what is printed and tells when the directory is known.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	dir  chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if dir, ok := strings.CutPrefix(string(p), "directory "); ok {
		l.dir <- strings.TrimSpace(dir)
	}
	return l.text.Write(p)
}

func TestRun(t *testing.T) {
	rule, err := testca.ParseRule("new-order nth=1 drop-after")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &lines{dir: make(chan string, 1)}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, options{ca: testca.Options{AlwaysValid: true}, root: root, rules: []testca.Rule{rule}}, out)
	}()
	dir := <-out.dir
	pem, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no root")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	f, err := testca.NewFloor(t.Context(), client, dir)
	if err != nil {
		t.Fatal(err)
	}
	show := func(_, _ string) error { return nil }
	if _, _, err := f.Issue(t.Context(), []string{"a.example.com"}, show); err == nil {
		t.Error("the reply was not dropped")
	}
	if _, _, err := f.Issue(t.Context(), []string{"a.example.com"}, show); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"POST new-order       - a.example.com", "POST new-order     201 a.example.com", "2 orders, 1 certificates, 0 over a limit"} {
		if !strings.Contains(out.text.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out.text)
		}
	}
}
