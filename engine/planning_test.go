package engine_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/store"
)

// slowStore answers after a time.
type slowStore struct {
	inkan.Store
	latency time.Duration
}

func (s slowStore) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	time.Sleep(s.latency)
	return s.Store.Get(ctx, key)
}

func (s slowStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	time.Sleep(s.latency)
	return s.Store.List(ctx, prefix, after)
}

// TestPlanReadsSideBySide: 200 certificates that are due, in a Store that answers
// after 10 ms, are planned in less than a second.
func TestPlanReadsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.Mem()
		quick := &engine.Manager{Store: s}
		for i := range 200 {
			name := fmt.Sprintf("c%d.example", i)
			_, err := quick.Record(t.Context(), inkan.CertificateRequest{Name: name, Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: name}},
				CAs: []string{"ca"}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256}}, inkan.OriginCLI)
			must(t, err)
		}
		m := &engine.Manager{Store: slowStore{s, 10 * time.Millisecond}}
		began := time.Now()
		p, err := m.Plan(t.Context(), engine.PlanOptions{})
		must(t, err)
		if took := time.Since(began); len(p.Certificates) != 200 || took > time.Second {
			t.Errorf("%d certificates were planned in %v", len(p.Certificates), took)
		} else {
			t.Logf("proof: %d certificates, 10 ms a read, planned in %v", len(p.Certificates), took)
		}
	})
}
