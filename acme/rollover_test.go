package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// keyOf returns the thumbprint of a key on record, "" if it is none.
func keyOf(t *testing.T, stored *inkan.StoredKey) string {
	t.Helper()
	if stored == nil {
		return ""
	}
	key, err := inkan.KeyOpener(nil).Open(t.Context(), stored, inkan.KeyUse{})
	if err != nil {
		t.Fatal(err)
	}
	print, err := Thumbprint(key)
	if err != nil {
		t.Fatal(err)
	}
	return print
}

// finishRollover runs the rollover again in another process and checks that
// the account has a new key, the same URL, and serves.
func (w *world) finishRollover(before inkan.AccountRecord) {
	w.t.Helper()
	crashed := *w.accounts.rec
	if crashed.URL != before.URL || crashed.Key == nil {
		w.t.Fatalf("the account was lost: %+v", crashed)
	}
	w.client = w.newClient()
	info, err := w.client.Rollover(w.t.Context(), "")
	if err != nil {
		w.t.Fatalf("finishing: %v", err)
	}
	after := *w.accounts.rec
	switch {
	case info.URL != before.URL || after.URL != before.URL:
		w.t.Errorf("the account changed from %s to %s", before.URL, after.URL)
	case after.Key.Equal(before.Key) || after.Next != nil:
		w.t.Error("the key was not changed, or a next one is left")
	case crashed.Next != nil && !after.Key.Equal(crashed.Next):
		w.t.Error("another next key was made although one was on record")
	case info.Thumbprint != keyOf(w.t, after.Key):
		w.t.Error("the key shown is not the one on record")
	}
	w.newClient().mustShow(w.t)
}

func (c *Client) mustShow(t *testing.T) {
	t.Helper()
	if _, err := c.ShowAccount(t.Context()); err != nil {
		t.Errorf("the account does not serve: %v", err)
	}
}

func TestRollover(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	_, err := w.client.Rollover(t.Context(), "")
	wantError(t, err, inkan.Operator, "there is none yet")
	w.issue("a.example.com")
	before := *w.accounts.rec
	for _, kt := range []inkan.KeyType{inkan.ECDSAP256, inkan.ECDSAP384, inkan.RSA2048} {
		info, err := w.client.Rollover(t.Context(), kt)
		if err != nil {
			t.Fatal(err)
		}
		rec := *w.accounts.rec
		if info.KeyType != kt || info.URL != before.URL || info.Thumbprint != keyOf(t, rec.Key) || rec.Next != nil || rec.Key.Equal(before.Key) {
			t.Errorf("%s: %+v", kt, info)
		}
		w.issue("b.example.com")
	}
	_, err = w.client.Rollover(t.Context(), inkan.Ed25519)
	wantError(t, err, inkan.Operator, "an account key cannot be of type ed25519")
	// The first key opens nothing any more.
	rec := before
	w.accounts.rec = &rec
	_, err = w.newClient().ShowAccount(t.Context())
	wantError(t, err, inkan.KindOf(err))
	if n := w.ca.Count(testca.PathNewAccount); n != 4 {
		t.Errorf("%d newAccount requests, want one for each key", n)
	}
}

// C27: the process dies before and after each write of the record.
func TestC27RolloverAtEveryWrite(t *testing.T) {
	for k := 1; ; k++ {
		reached := false
		for _, written := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, durable %v", k, written), func(t *testing.T) {
				w := newWorld(t, testca.Options{}, nil)
				w.issue("a.example.com")
				before, base := *w.accounts.rec, w.accounts.writes
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w.accounts.stop = func(update int) error {
					if update-base < k {
						return nil
					}
					reached = true
					if written && update-base == k {
						cancel()
						return nil
					}
					return errCrash
				}
				_, err := w.client.Rollover(ctx, "")
				w.accounts.stop = nil
				if !reached {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if w.accounts.rec.Key.Equal(before.Key) { // else it was done before the end
					w.newClient().mustShow(t) // whatever the next process does first
					w.finishRollover(before)
				}
				w.client = w.newClient()
				w.issue("b.example.com")
			})
		}
		if !reached {
			if k != 3 {
				t.Errorf("%d writes, want 2", k-1)
			}
			return
		}
	}
}

// C27, B02: the process dies before each request reaches the CA, or after it
// and before the answer. The account is never lost: the next process issues
// with it, and a second rollover finishes the first.
func TestC27RolloverAtEveryRequest(t *testing.T) {
	for _, answered := range []bool{false, true} {
		for k := int64(1); ; k++ {
			var count, armed atomic.Int64
			var cancel context.CancelFunc
			over := t.Run(fmt.Sprintf("request %d, done %v", k, answered), func(t *testing.T) {
				w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if armed.Load() == 0 || count.Add(1) != k {
						next.ServeHTTP(w, r)
						return
					}
					if answered {
						next.ServeHTTP(httptest.NewRecorder(), r)
					}
					cancel()
					panic(http.ErrAbortHandler)
				})
				w.issue("a.example.com")
				before := *w.accounts.rec
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				cancel = stop
				w.client = w.newClient()
				armed.Store(1)
				_, err := w.client.Rollover(ctx, "")
				armed.Store(0)
				if count.Load() < k {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if err != nil { // a prefetched nonce may be lost without harm
					wantError(t, err, inkan.Pending, "interrupted")
				}
				w.client = w.newClient()
				w.issue("b.example.com")
				if w.accounts.rec.Key.Equal(before.Key) {
					w.finishRollover(before)
					w.issue("c.example.com")
				}
			})
			if !over || count.Load() < k {
				if k < 4 {
					t.Errorf("only %d requests", k-1)
				}
				break
			}
		}
	}
}

// B02: the connection breaks, the process lives.
func TestB02LostKeyChange(t *testing.T) {
	for what, fault := range map[string]testca.Fault{"before": testca.DropBefore(), "after": testca.DropAfter(), "503": testca.Answer(503, "", "")} {
		t.Run(what, func(t *testing.T) {
			w, p := newProxied(t, testca.Options{})
			w.issue("a.example.com")
			before := *w.accounts.rec
			p.Add(testca.Rule{Path: testca.PathKeyChange, To: 1, Do: fault})
			_, err := w.client.Rollover(t.Context(), "")
			wantError(t, err, inkan.Temporary, "key change at 127.0.0.1:", "both keys are kept")
			if rec := *w.accounts.rec; rec.Next == nil || !rec.Key.Equal(before.Key) {
				t.Fatalf("not both keys are on record: %+v", rec)
			}
			w.issue("b.example.com") // in this process, whichever key the CA knows
			w.client = w.newClient()
			w.issue("c.example.com") // and in the next
			if w.accounts.rec.Next != nil {
				w.finishRollover(before)
			}
			if n := w.ca.Count(testca.PathKeyChange); n > 2 {
				t.Errorf("%d key changes", n)
			}
		})
	}
}

// A CA with external account binding may want one before it says that it knows
// no account of the next key. The account serves all the same.
func TestUnfinishedRolloverWithEAB(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	w.issue("a.example.com")
	before := *w.accounts.rec
	p.Add(testca.Rule{Path: testca.PathKeyChange, To: 1, Do: testca.DropBefore()})
	_, err := w.client.Rollover(t.Context(), "")
	wantError(t, err, inkan.Temporary, "both keys are kept")
	rule := p.Add(testca.Rule{Path: testca.PathNewAccount, To: 1, Do: testca.Problem(403, externalAccountRequired, "who are you?")})
	w.client = w.newClient()
	w.issue("b.example.com")
	rule.Remove()
	w.finishRollover(before)
}

// Another process changes the key while this one has the old one in memory,
// also in the middle of an order.
func TestC27RolloverByAnotherProcess(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.issue("a.example.com")
	roll := func() {
		t.Helper()
		if _, err := w.newClient().Rollover(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	roll()
	w.issue("b.example.com")
	roll()
	w.client.mustShow(t)
	roll()
	if err := w.client.Revoke(t.Context(), w.newClientOf(t, "c.example.com"), inkan.Superseded, nil); err != nil {
		t.Error(err)
	}
	// The order of a journal goes on with the new key.
	r, j := w.request("d.example.com")
	j.stop = func(update int) error {
		if update > 1 {
			return errCrash
		}
		return nil
	}
	if _, err := w.client.Issue(t.Context(), r); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	j.stop = nil
	roll()
	orders := w.ca.Orders()
	w.mustIssue(r, j)
	if w.ca.Orders() != orders {
		t.Error("the order was made again")
	}
}

// newClientOf issues a certificate in another process and returns its leaf.
func (w *world) newClientOf(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	mine := w.client
	w.client = w.newClient()
	defer func() { w.client = mine }()
	return w.issue(name)
}

// Several processes change the key at once: one next key, one account.
func TestC27RolloverRace(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.issue("a.example.com")
	before := *w.accounts.rec
	const processes = 5
	errs := make(chan error)
	for range processes {
		c := w.newClient()
		go func() {
			_, err := c.Rollover(t.Context(), "")
			errs <- err
		}()
	}
	for range processes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	rec := *w.accounts.rec
	if rec.Next != nil || rec.URL != before.URL || rec.Key.Equal(before.Key) {
		t.Errorf("record: %+v", rec)
	}
	w.newClient().mustShow(t)
}

// Another process brings the next key into force between our look and our
// request. The CA then refuses the old key's signature because the key is of
// another type by now, which must not be taken for a refusal of the next key.
func TestC27RolloverRefusedAfterItHappened(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	w.issue("a.example.com")
	before := *w.accounts.rec
	p.Add(testca.Rule{Path: testca.PathKeyChange, Do: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			problem(w, 400, "badSignatureAlgorithm", "the algorithm ES256 does not match the key")
		})
	}})
	info, err := w.client.Rollover(t.Context(), inkan.ECDSAP384)
	if err != nil || info.KeyType != inkan.ECDSAP384 {
		t.Errorf("%+v, %v", info, err)
	}
	if rec := *w.accounts.rec; rec.Key.Equal(before.Key) || rec.Next != nil {
		t.Errorf("record: %+v", rec)
	}
	w.newClient().mustShow(t)
}

// What the CA may answer, and which keys are on record then.
func TestRolloverRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault testca.Fault
		kind  inkan.Kind
		words []string
		kept  bool // the next key
	}{
		{"another account has it", testca.Chain(testca.SetHeader("Location", "https://127.0.0.1/my-account/77"), testca.Answer(409, "", "")), inkan.Temporary, []string{"the old key stays in force"}, false},
		{"not this key", testca.Problem(400, badPublicKey, "no elliptic curves here"), inkan.Rejected, []string{"no elliptic curves here", "the old key stays in force"}, false},
		{"not now", testca.RateLimited("slowly", "3600"), inkan.RateLimited, []string{"slowly", "tries again"}, true},
		{"for no reason", testca.Problem(403, unauthorized, "no"), inkan.Operator, []string{"the old key is in force"}, true},
		{"agreed but not done", testca.Answer(200, "", ""), inkan.Temporary, []string{"still knows only the old key"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, p := newProxied(t, testca.Options{})
			w.issue("a.example.com")
			before := *w.accounts.rec
			rule := p.Add(testca.Rule{Path: testca.PathKeyChange, Do: test.fault})
			_, err := w.client.Rollover(t.Context(), "")
			wantError(t, err, test.kind, test.words...)
			if rec := *w.accounts.rec; !rec.Key.Equal(before.Key) || (rec.Next != nil) != test.kept {
				t.Errorf("key changed %v, next kept %v", !rec.Key.Equal(before.Key), rec.Next != nil)
			}
			rule.Remove()
			w.issue("b.example.com")
			w.finishRollover(before)
		})
	}
	t.Run("the CA has none", func(t *testing.T) {
		w, p := newProxied(t, testca.Options{})
		p.Add(testca.Rule{Path: testca.PathDirectory, Do: testca.EditJSON(func(doc map[string]any) { delete(doc, "keyChange") })})
		w.client = w.newClient()
		w.issue("a.example.com")
		_, err := w.client.Rollover(t.Context(), "")
		wantError(t, err, inkan.Operator, "the CA offers none", "another account")
		if w.accounts.rec.Next != nil {
			t.Error("a key was made")
		}
	})
	t.Run("the account is gone", func(t *testing.T) {
		w, p := newProxied(t, testca.Options{})
		w.issue("a.example.com")
		p.Add(testca.Rule{Path: testca.PathNewAccount, Do: testca.AccountGone()})
		_, err := w.client.Rollover(t.Context(), "")
		wantError(t, err, inkan.Operator, "neither the key nor the one that was to follow it")
		if w.accounts.rec.Next == nil || w.accounts.rec.Key == nil {
			t.Error("a key was dropped")
		}
	})
}

func TestDeactivate(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	_, err := w.client.Deactivate(t.Context())
	wantError(t, err, inkan.Operator, "there is none yet")
	w.issue("a.example.com")
	info, err := w.client.Deactivate(t.Context())
	if err != nil || info.Status != "deactivated" || info.URL == "" {
		t.Fatalf("%+v, %v", info, err)
	}
	gone := "it was deactivated on"
	for _, c := range []*Client{w.client, w.newClient()} {
		r, _ := w.request("b.example.com")
		_, err = c.Issue(t.Context(), r)
		wantError(t, err, inkan.Operator, gone, "--account NAME")
		_, err = c.ShowAccount(t.Context())
		wantError(t, err, inkan.Operator, gone)
		_, err = c.Rollover(t.Context(), "")
		wantError(t, err, inkan.Operator, gone)
		_, err = c.Register(t.Context(), RegisterOptions{AgreeTerms: true})
		wantError(t, err, inkan.Operator, gone, "--recover")
	}
	if _, err := w.newClient().Deactivate(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
	before := *w.accounts.rec
	fresh, err := w.client.Register(t.Context(), RegisterOptions{AgreeTerms: true, Recover: true})
	if err != nil || fresh.URL == info.URL || fresh.Thumbprint == keyOf(t, before.Key) {
		t.Fatalf("%+v, %v", fresh, err)
	}
	w.issue("b.example.com")
}

// B02: the reply to the deactivation is lost, or the CA refuses it.
func TestB02LostDeactivation(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	w.issue("a.example.com")
	refused := p.Add(testca.Rule{Path: testca.PathAccount, Do: testca.Problem(400, malformed, "not today")})
	_, err := w.client.Deactivate(t.Context())
	wantError(t, err, inkan.Rejected, "not today")
	refused.Remove()
	w.issue("b.example.com") // the mark was taken back

	// Not heard at first, and refused the second time: it lives.
	p.Add(testca.Rule{Path: testca.PathAccount, To: 1, Do: testca.DropBefore()})
	refused = p.Add(testca.Rule{Path: testca.PathAccount, Do: testca.Problem(400, malformed, "not today")})
	_, err = w.client.Deactivate(t.Context())
	wantError(t, err, inkan.Temporary, "it is marked as deactivated here")
	_, err = w.client.Deactivate(t.Context())
	wantError(t, err, inkan.Rejected, "not today")
	refused.Remove()
	w.issue("b.example.com")

	p.Add(testca.Rule{Path: testca.PathAccount, To: 1, Do: testca.DropAfter()})
	_, err = w.client.Deactivate(t.Context())
	wantError(t, err, inkan.Temporary, "it is marked as deactivated here")
	r, _ := w.request("c.example.com")
	_, err = w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "it was deactivated on")
	later := p.Add(testca.Rule{Path: testca.PathAccount, Do: testca.RateLimited("slowly", "60")})
	_, err = w.newClient().Deactivate(t.Context())
	wantError(t, err, inkan.RateLimited, "slowly")
	if w.accounts.rec.Deactivated.IsZero() {
		t.Error("the account that the CA has deactivated counts as usable again")
	}
	later.Remove()
	if info, err := w.newClient().Deactivate(t.Context()); err != nil || info.Status != "deactivated" {
		t.Errorf("again: %+v, %v", info, err)
	}
}
