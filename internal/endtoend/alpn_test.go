package endtoend

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/acme"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/internal/testport"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/serve"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

// node is a program that shares a store with others, as an embedder writes it.
type node struct {
	manager *engine.Manager
	proofs  *solve.TLSALPN
}

func newNode(t *testing.T, ca *testca.CA, shared inkan.Store) *node {
	t.Helper()
	client, err := acme.New(plug.Env{}, acme.Config{Name: "test", Directory: ca.DirectoryURL, Roots: ca.Roots, AgreeTerms: true}, engine.Accounts(shared, "test", "default"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	n := &node{proofs: &solve.TLSALPN{Store: shared}}
	n.manager = &engine.Manager{
		Store:  shared,
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return client, nil },
		Solver: func(context.Context, string) (inkan.Solver, error) { return n.proofs, nil },
	}
	return n
}

// serve answers HTTPS with the certificates of the store.
func (n *node) serve(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{TLSConfig: &tls.Config{GetCertificate: (&serve.Certificates{Store: n.manager.Store}).GetCertificate}, ErrorLog: log.New(io.Discard, "", 0)}
	n.proofs.Serve(server)
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { server.Close() })
}

// TestF39AnyNodeOfACluster: the first node orders and the second, which the CA
// meets on port 443, answers for it by tls-alpn-01 within its TLS server; then
// it serves the certificate. Nobody listens on port 80.
func TestF39AnyNodeOfACluster(t *testing.T) {
	ca := testca.Start(t, testca.Options{})
	shared := store.Mem()
	orders, answers := newNode(t, ca, shared), newNode(t, ca, shared)
	addr := testport.Addr(ca.TLSPort)
	answers.serve(t, addr)

	ids, err := inkan.ParseIdentifiers([]string{"www.example.com", "example.com", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	request := inkan.CertificateRequest{
		Name: "www", Identifiers: ids, CAs: []string{"test"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256},
		Validations: []inkan.Validation{{Type: inkan.TLSALPN01, Solver: "tls"}},
	}
	if _, err := orders.manager.Record(t.Context(), request, inkan.OriginAPI); err != nil {
		t.Fatal(err)
	}
	plan, err := orders.manager.Plan(t.Context(), engine.PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := orders.manager.Run(t.Context(), plan).Err(); err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"www.example.com", "example.com", "127.0.0.1"} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: server, RootCAs: ca.IssuerRoots()})
		if err != nil {
			t.Errorf("%s: %v", server, err)
			continue
		}
		conn.Close()
	}
	for key, err := range shared.List(t.Context(), "tls-alpn-01/", "") {
		if data, _, getErr := shared.Get(t.Context(), key); err != nil || getErr != nil || len(data) > 0 {
			t.Errorf("left at %s: %q, %v, %v", key, data, err, getErr)
		}
	}
}
