package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testkit"
)

// FuzzJournal: whatever a journal and a state hold under a sound checksum, also
// what another version or a hostile writer left there (H13), looking at the
// certificate gives an answer or an error that a terminal can show, and writes
// nothing outside its place.
func FuzzJournal(f *testing.F) {
	sample := inkan.OrderRecord{Name: "a.example", Attempt: "0123456789abcdef", KeyType: inkan.ECDSAP256, Base: 1, CA: "test", Account: "default", OrderURL: "https://ca.example/o/1",
		Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: "a.example"}}, Challenges: []inkan.Challenge{{Type: inkan.HTTP01, Token: "t", Solver: "web", Undo: inkan.Undo(`"x"`)}},
		CSR: []byte{1}, Key: &inkan.StoredKey{Form: inkan.PlainKey, Data: []byte("k")}, Finalizing: true, Created: time.Unix(1, 0).UTC()}
	s, written := testkit.New(), struct{ Body json.RawMessage }{}
	key := state.OrderKey(sample.Name, sample.Attempt, sample.KeyType)
	err := state.NewJournal(s, sample).Create(f.Context())
	if err == nil {
		err = json.Unmarshal(s.Values[key], &written)
	}
	if err != nil {
		f.Fatal(err)
	}
	order := []byte(written.Body)
	work, err := json.Marshal(sampleState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(order, work)
	f.Add([]byte(`{"name":"../../etc","attempt":"x/y","key":{"form":"\u001b[31m","data":"!"}}`), []byte(`{"running":"0123456789abcdef","due":"due/../x","lease":{"owner":{"pid":-1}}}`))
	f.Add([]byte(`{"expires":"9999-12-31T23:59:59Z","challenges":[null,{}]}`), []byte(`{"attempts":-9223372036854775808,"not_before":"0001-01-01T00:00:00Z"}`))
	f.Add([]byte(`null`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, order, work []byte) {
		ctx := t.Context()
		s := testkit.New()
		putSound(t, s, state.OrderKey("a.example", "0123456789abcdef", inkan.ECDSAP256), order)
		putSound(t, s, state.StateKey("a.example"), work)
		if _, err := state.CreateOnce(ctx, s, state.RequestKey("a.example"), inkan.RequestRecord{CertificateRequest: inkan.CertificateRequest{Name: "a.example", Identifiers: []inkan.Identifier{{Type: inkan.DNS, Value: "a.example"}}}}, "id"); err != nil {
			t.Fatal(err)
		}
		s.Before = func(op, key string) error {
			if op != "get" && op != "list" {
				t.Errorf("looking does %s %s", op, key)
			}
			return nil
		}
		m := &Manager{Store: s, Host: testkit.New(), Now: func() time.Time { return time.Unix(1800000000, 0) }}
		shown := func(what string, err error) {
			if err != nil && strings.ContainsFunc(inkan.Printable(err.Error(), 4096), hidden) {
				t.Errorf("%s: error %q", what, err)
			}
		}
		o, err := m.Observe(ctx, "a.example")
		shown("observe", err)
		if damaged := new(inkan.DamagedError); err != nil && !errors.As(err, &damaged) && inkan.KindOf(err) != inkan.Operator {
			t.Errorf("observe: %v", err)
		}
		if err == nil {
			for _, j := range o.Orders {
				if j.Key != nil {
					_, err := m.openKey(ctx, "a.example", j.Key)
					shown("key", err)
				}
			}
		}
		_, err = m.Plan(ctx, PlanOptions{})
		shown("plan", err)
		_, err = m.Verify(ctx, false)
		shown("verify", err)
	})
}

// putSound puts body at key under an envelope that fits it.
func putSound(t *testing.T, s *testkit.Store, key string, body []byte) {
	t.Helper()
	if !json.Valid(body) {
		body, _ = json.Marshal(string(body)) // a string is always valid
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		t.Fatal(err)
	}
	body = compact.Bytes()
	s.Set(key, fmt.Appendf(nil, `{"inkan":1,"counter":1,"write":"id","sum":%q,"body":%s}`, state.Sum(body), body))
}
