package acme

import (
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
)

// L09: the key is to be kept, and the CA has put it on its list of compromised
// keys. The same run orders again with a new key, once, and the certificate
// after that keeps the new one.
func TestL09KeyOnTheBlocklist(t *testing.T) {
	for _, kind := range []string{badCSR, badPublicKey} {
		t.Run(kind, func(t *testing.T) {
			w, p := newProxied(t, testca.Options{})
			e := w.newManaged(p)
			ids, err := inkan.ParseIdentifiers([]string{"a.example.com"})
			if err != nil {
				t.Fatal(err)
			}
			r := inkan.CertificateRequest{Name: "a.example.com", Identifiers: ids, CAs: []string{"test"}, Account: "default",
				KeyTypes: []inkan.KeyType{inkan.ECDSAP256}, Key: inkan.KeyPolicy{Mode: inkan.KeyReuse},
				Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}}}
			if _, err := e.m.Record(t.Context(), r, inkan.OriginCLI); err != nil {
				t.Fatal(err)
			}
			spki := func() string {
				t.Helper()
				sum, err := inkan.SPKIHash(e.observe("a.example.com").Version.Pairs[0].Leaf.PublicKey)
				if err != nil {
					t.Fatal(err)
				}
				return sum
			}
			renew := func() error {
				return e.run(engine.PlanOptions{Scope: engine.Named("a.example.com"), Renew: true}).Err()
			}
			if err := renew(); err != nil {
				t.Fatal(err)
			}
			first := spki()
			if err := renew(); err != nil || spki() != first {
				t.Fatalf("the key was not kept: %v", err)
			}
			orders := e.ca.Orders()
			refusal := p.Add(testca.Rule{Path: testca.PathFinalize, From: 1, To: 1, Do: testca.Problem(400, kind, "invalid public key in CSR: public key is forbidden")})
			if err := renew(); err != nil {
				t.Fatal(err)
			}
			second := spki()
			if second == first || refusal.Hits() == 0 || e.ca.Orders() != orders+2 {
				t.Errorf("the same key: %v; %d refusals, %d orders more", second == first, refusal.Hits(), e.ca.Orders()-orders)
			}
			if err := renew(); err != nil || spki() != second {
				t.Errorf("the new key was not kept: %v", err)
			}

			// Refused with a fresh key too, it is no matter of the key.
			orders = e.ca.Orders()
			p.Add(testca.Rule{Path: testca.PathFinalize, Do: testca.Problem(400, kind, "no")})
			e.sleep(time.Hour)
			wantError(t, renew(), inkan.Rejected, "no")
			if n := e.ca.Orders() - orders; n != 2 {
				t.Errorf("%d orders, want 2", n)
			}
			if spki() != second {
				t.Error("what was in force is gone")
			}
		})
	}
}
