package engine_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
)

const day = 24 * time.Hour

// start returns a world with one process in it, and the gate that counts what
// the process changes.
func start(t *testing.T) (*world, *engine.Manager, *gate) {
	t.Helper()
	w := newWorld(t)
	g := &gate{}
	return w, w.process(g), g
}

// writes returns the names of the changes since the last call.
func (g *gate) writes() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := g.names
	g.names = nil
	return names
}

func (w *world) observed(m *engine.Manager) *engine.Observed {
	w.t.Helper()
	o, err := m.Observe(w.t.Context(), w.req.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func keysBelow(t *testing.T, s inkan.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for k, err := range s.List(t.Context(), prefix, "") {
		must(t, err)
		keys = append(keys, k)
	}
	return keys
}

// calm lets a renew pass run when everything is due, and holds that exactly
// want due entries remain, and no journal.
func (w *world) calm(m *engine.Manager, want int) {
	w.t.Helper()
	w.advance(20 * time.Minute) // safety entries come due
	renew(w.t.Context(), m)     // what fails in the scenario may fail here
	if due := keysBelow(w.t, w.store, "due/cert/"); len(due) != want {
		w.t.Errorf("%d due entries are left, want %d: %v", len(due), want, due)
	}
	if want == 1 {
		if o := w.observed(m); !slices.Contains(keysBelow(w.t, w.store, "due/cert/"), o.State.Due) {
			w.t.Errorf("the due entry left is not the one in force (%s)", o.State.Due)
		}
	}
}

func events(t *testing.T, m *engine.Manager) []string {
	t.Helper()
	var all []inkan.Event
	for e, err := range state.Events(t.Context(), m.Store, time.Time{}, state.Wanted{}) {
		must(t, err)
		all = append(all, e)
	}
	// The clock of the model stands still, so several have one instant.
	slices.SortStableFunc(all, func(a, b inkan.Event) int { return 2*a.At.Compare(b.At) + strings.Compare(a.ID, b.ID) })
	var kinds []string
	for _, e := range all {
		kinds = append(kinds, string(e.Kind))
	}
	return kinds
}

// TestD01RenewalKeepsEverything: names, key type, profile, targets (aaa lost the
// names).
func TestD01RenewalKeepsEverything(t *testing.T) {
	w, m, g := start(t)
	ids, err := inkan.ParseIdentifiers([]string{"example.com", "*.example.com", "www.example.org", "192.0.2.7"})
	must(t, err)
	w.req.Identifiers, w.req.KeyTypes, w.req.Profile = ids, []inkan.KeyType{inkan.ECDSAP384}, "shortlived"
	w.req.Targets = []string{"there", "elsewhere"}
	var asked []inkan.CertificateRequest
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
			asked = append(asked, r.Request)
			if len(asked) == 2 && (r.Replaces == nil || r.Replaces.SerialNumber.Int64() != 101) {
				t.Errorf("the renewal replaces %v, want the first certificate", r.Replaces)
			}
			return modelIssuer{w.ca, g}.Issue(ctx, r)
		}), nil
	}
	must(t, issue(t.Context(), m, w.req))
	first := w.observed(m)
	w.advance(61 * day)
	must(t, renew(t.Context(), m))
	w.check("renewed", 2, 2, 2)
	o := w.observed(m)
	if diff := cmp.Diff(asked[0], asked[1]); diff != "" {
		t.Errorf("the renewal asked something else:\n%s", diff)
	}
	pair := o.Version.Pairs[0]
	if diff := cmp.Diff(ids, o.Version.Identifiers); diff != "" || pair.KeyType != inkan.ECDSAP384 || len(pair.Leaf.DNSNames) != 3 || len(pair.Leaf.IPAddresses) != 1 {
		t.Errorf("the second version: %v, %s, %v", pair.Leaf.DNSNames, pair.KeyType, diff)
	}
	if same(t, first.Version, o.Version) {
		t.Error("the key was used again")
	}
	if o.Version.Seq != first.Version.Seq+1 || len(o.State.Renewals) != 1 {
		t.Errorf("seq %d after %d, renewals %v", o.Version.Seq, first.Version.Seq, o.State.Renewals)
	}
	for _, target := range o.Targets {
		if target.Deployed.Accepted != 2 {
			t.Errorf("target %s has %d", target.Name, target.Deployed.Accepted)
		}
	}
	w.calm(m, 1)
}

type issuerFunc func(context.Context, inkan.IssueRequest) (*inkan.Issued, error)

func (f issuerFunc) Issue(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
	return f(ctx, r)
}

func same(t *testing.T, a, b *inkan.Version) bool {
	t.Helper()
	x, err := inkan.SPKIHash(a.Pairs[0].Leaf.PublicKey)
	must(t, err)
	y, err := inkan.SPKIHash(b.Pairs[0].Leaf.PublicKey)
	must(t, err)
	return x == y
}

// TestIssueAgain: nothing to do is nothing done.
func TestIssueAgain(t *testing.T) {
	w, m, g := start(t)
	must(t, issue(t.Context(), m, w.req))
	g.writes()
	must(t, issue(t.Context(), m, w.req))
	if got := g.writes(); got != nil {
		t.Errorf("the second issue did %v", got)
	}
	w.check("again", 1, 1, 1)
	w.calm(m, 1)
	must(t, renew(t.Context(), m))
	g.writes()
	must(t, renew(t.Context(), m))
	if got := g.writes(); got != nil {
		t.Errorf("renew with nothing due did %v", got)
	}
	w.advance(61 * day)
	must(t, renew(t.Context(), m))
	w.check("renewed", 2, 2, 2)
	if n := len(slices.DeleteFunc(g.writes(), func(n string) bool { return !strings.HasPrefix(n, "put") })); n > 20 {
		t.Errorf("a renewal with its deployment took %d puts", n)
	}
}

// TestChangedNames: another ask is another version, and the hints follow.
func TestChangedNames(t *testing.T) {
	w, m, _ := start(t)
	must(t, issue(t.Context(), m, w.req))
	ids, err := inkan.ParseIdentifiers([]string{"example.com", "*.example.net"})
	must(t, err)
	w.req.Identifiers = ids
	must(t, issue(t.Context(), m, w.req))
	w.check("changed", 2, 2, 2)
	want := []string{"names/_.example.net/example.com", "names/example.com/example.com"}
	if diff := cmp.Diff(want, keysBelow(t, w.store, "names/")); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
	if o := w.observed(m); len(o.State.Renewals) != 0 {
		t.Errorf("a change counts as a renewal: %v", o.State.Renewals)
	}
	versions, err := m.Versions(t.Context(), w.req.Name)
	if err != nil || len(versions) != 2 {
		t.Errorf("%d versions, %v; the old one must stay", len(versions), err)
	}
	w.calm(m, 1)
}

// TestChangedWhileOrdering: an order that was not finalized is closed, and what
// is wanted now is ordered.
func TestChangedWhileOrdering(t *testing.T) {
	w, m, g := start(t)
	broken := errors.New("the CA is away")
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
			must(t, r.Journal.Update(ctx, func(o *inkan.OrderRecord) { o.OrderURL = "order-old" }))
			return nil, broken
		}), nil
	}
	if err := issue(t.Context(), m, w.req); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if o := w.observed(m); len(o.Orders) != 1 || o.State.Running == "" || o.State.Attempts != 1 {
		t.Fatalf("after a temporary failure: %+v, %d orders", o.State, len(o.Orders))
	}
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return modelIssuer{w.ca, g}, nil }
	w.req.Identifiers = w.req.Identifiers[:1]
	must(t, issue(t.Context(), m, w.req))
	w.check("changed", 1, 1, 1)
	if o := w.observed(m); len(o.Version.Identifiers) != 1 {
		t.Errorf("issued for %v", o.Version.Identifiers)
	}
	w.calm(m, 1)
}

// TestKeyPolicies: reuse keeps the public key, a given key is used, a CSR of the
// user's own leaves no key.
func TestKeyPolicies(t *testing.T) {
	ctx := t.Context()
	t.Run("reuse", func(t *testing.T) {
		w, m, _ := start(t)
		w.req.Key.Mode = inkan.KeyReuse
		must(t, issue(ctx, m, w.req))
		first := w.observed(m).Version
		w.advance(61 * day)
		must(t, renew(ctx, m))
		w.check("renewed", 2, 2, 2)
		if second := w.observed(m).Version; !same(t, first, second) || !first.Pairs[0].Key.Equal(second.Pairs[0].Key) {
			t.Error("the key changed")
		}
		// Another key type needs another key.
		w.req.KeyTypes = []inkan.KeyType{inkan.ECDSAP384}
		must(t, issue(ctx, m, w.req))
		if third := w.observed(m).Version; same(t, first, third) {
			t.Error("the key is of the old type")
		}
	})
	t.Run("given", func(t *testing.T) {
		w, m, _ := start(t)
		key, err := inkan.GenerateKey(inkan.ECDSAP256)
		must(t, err)
		for range 2 {
			w.req.Key, err = m.KeepKey(ctx, key)
			must(t, err)
		}
		must(t, issue(ctx, m, w.req))
		w.advance(61 * day)
		must(t, renew(ctx, m))
		w.check("renewed", 2, 2, 2)
		if spki, err := inkan.SPKIHash(w.observed(m).Version.Pairs[0].Leaf.PublicKey); err != nil || spki != w.req.Key.Given {
			t.Errorf("the certificate is for %s, %v", spki, err)
		}
	})
	t.Run("given elsewhere", func(t *testing.T) {
		w, m, _ := start(t)
		w.req.Key = inkan.KeyPolicy{Mode: inkan.KeyGiven, Given: strings.Repeat("f", 64)}
		err := issue(ctx, m, w.req)
		if inkan.KindOf(err) != inkan.Operator || len(inkan.HintsOf(err)) == 0 {
			t.Errorf("got %v", err)
		}
		if w.ca.issued() != 0 {
			t.Error("a certificate was issued")
		}
	})
	t.Run("own CSR", func(t *testing.T) {
		w, m, _ := start(t)
		key, err := inkan.GenerateKey(inkan.ECDSAP256)
		must(t, err)
		w.req.CSR, err = inkan.NewCSR(key, w.req.Identifiers)
		must(t, err)
		must(t, issue(ctx, m, w.req))
		w.check("issued", 1, 1, 1)
		p := w.observed(m).Version.Pairs[0]
		if p.Key != nil || !p.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
			t.Error("a key was kept, or the leaf is for another one")
		}
		w.calm(m, 1)
	})
	t.Run("sealed", func(t *testing.T) {
		w, m, _ := start(t)
		m.SealKey = func(ctx context.Context, k *inkan.PrivateKey) (*inkan.StoredKey, error) {
			return &inkan.StoredKey{Form: "box", Data: []byte("sealed")}, nil
		}
		must(t, issue(ctx, m, w.req))
		w.check("issued", 1, 1, 1)
		if k := w.observed(m).Version.Pairs[0].Key; k.Form != "box" || string(k.Data) != "sealed" {
			t.Errorf("stored in the form %s", k.Form)
		}
	})
}

// advisedIssuer is the model's issuer at a CA with renewal information.
type advisedIssuer struct {
	modelIssuer
	info func(*x509.Certificate) (*inkan.RenewalInfo, error)
}

func (i advisedIssuer) RenewalInfo(_ context.Context, leaf *x509.Certificate) (*inkan.RenewalInfo, error) {
	return i.info(leaf)
}

// TestL02AdvicePullsForward: a window that moves into the past renews at the next
// look; the same window for ever renews once a day and twice a week (A12).
func TestL02AdvicePullsForward(t *testing.T) {
	w, m, g := start(t)
	ctx := t.Context()
	pulled, looks := false, 0
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return advisedIssuer{modelIssuer{w.ca, g}, func(leaf *x509.Certificate) (*inkan.RenewalInfo, error) {
			looks++
			info := &inkan.RenewalInfo{Start: leaf.NotBefore.Add(55 * day), End: leaf.NotBefore.Add(60 * day)}
			if pulled {
				info.Start, info.End = w.now().Add(-2*day), w.now().Add(-day)
			}
			return info, nil
		}}, nil
	}
	must(t, issue(ctx, m, w.req))
	pick := time.Time{}
	for range 20 { // five days of looks
		w.advance(6 * time.Hour)
		must(t, renew(ctx, m))
		ari := w.observed(m).State.ARI
		if ari.Pick.IsZero() || !pick.IsZero() && !ari.Pick.Equal(pick) {
			t.Fatalf("picked %v after %v", ari.Pick, pick)
		}
		pick = ari.Pick
	}
	w.check("before", 1, 1, 1)
	if looks < 15 || looks > 21 {
		t.Errorf("%d looks in five days, want one every six hours", looks)
	}
	pulled = true
	w.advance(6*time.Hour + time.Minute)
	must(t, renew(ctx, m))
	w.check("pulled", 2, 2, 2)
	for range 28 * 4 {
		w.advance(6 * time.Hour)
		must(t, renew(ctx, m))
	}
	if n := w.ca.issued(); n < 5 || n > 10 { // 4 weeks, two a week, and the two before
		t.Errorf("%d certificates after four weeks of a window in the past", n)
	}
	w.calm(m, 1)
}

// TestA16AdviceFails: renewal by the local rule, whatever the advice's server
// says; the CA is not asked more often for it.
func TestA16AdviceFails(t *testing.T) {
	w, m, g := start(t)
	ctx := t.Context()
	looks := 0
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return advisedIssuer{modelIssuer{w.ca, g}, func(*x509.Certificate) (*inkan.RenewalInfo, error) {
			looks++
			return nil, inkan.Errorf(inkan.Temporary, "renewal information", "503")
		}}, nil
	}
	must(t, issue(ctx, m, w.req))
	for w.ca.issued() < 2 {
		w.advance(3 * time.Hour)
		must(t, renew(ctx, m))
		if w.now().Sub(w.clock.Add(-90*day)) > 61*day && looks > 1000 {
			t.Fatal("never renewed")
		}
	}
	if o := w.observed(m); o.State.Attempts != 0 || o.State.LastError != nil {
		t.Errorf("a failed look counts as a failed attempt: %+v", o.State)
	}
	if looks > 60*4+12 {
		t.Errorf("%d looks in 60 days", looks)
	}
	var told []inkan.Event
	for e, err := range state.Events(ctx, m.Store, time.Time{}, state.Wanted{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == inkan.EventNoAdvice {
			told = append(told, e)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0].Message, "503") || told[0].NextTry.IsZero() || told[0].At.Sub(w.clock.Add(-90*day)) > 60*day {
		t.Errorf("a day without advice is told by %+v, want one event", told)
	}
	w.calm(m, 1)
}

// TestLookWithBrokenStore: a look that cannot be written down is not repeated in
// the same run.
func TestLookWithBrokenStore(t *testing.T) {
	w, m, g := start(t)
	looks := 0
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return advisedIssuer{modelIssuer{w.ca, g}, func(leaf *x509.Certificate) (*inkan.RenewalInfo, error) {
			looks++
			return &inkan.RenewalInfo{Start: leaf.NotBefore, End: leaf.NotBefore.Add(day)}, nil
		}}, nil
	}
	must(t, issue(t.Context(), m, w.req))
	w.advance(7 * time.Hour)
	full := errors.New("disk full")
	m.Store = failingStore{m.Store, func(op, key string) error {
		if op == "put" {
			return full
		}
		return nil
	}}
	if err := renew(t.Context(), m); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if looks != 1 {
		t.Errorf("the CA was asked %d times", looks)
	}
}

// failingStore fails the calls that fail says.
type failingStore struct {
	inkan.Store
	fail func(op, key string) error
}

func (s failingStore) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	if err := s.fail("get", key); err != nil {
		return nil, "", err
	}
	return s.Store.Get(ctx, key)
}

func (s failingStore) Put(ctx context.Context, key string, data []byte, old inkan.Rev) (inkan.Rev, error) {
	if err := s.fail("put", key); err != nil {
		return "", err
	}
	return s.Store.Put(ctx, key, data, old)
}

// TestE04StoreFailsOnce: a Store that cannot be read just now is no reason to
// order another certificate.
func TestE04StoreFailsOnce(t *testing.T) {
	w, m, _ := start(t)
	must(t, issue(t.Context(), m, w.req))
	good := m.Store
	for _, family := range []string{"v/", "current/", "state/", "request/"} {
		away := errors.New("503 SlowDown")
		m.Store = failingStore{good, func(op, key string) error {
			if op == "get" && strings.HasPrefix(key, family) {
				return away
			}
			return nil
		}}
		p, err := m.Plan(t.Context(), engine.PlanOptions{Scope: engine.Named(w.req.Name), ByPerson: true})
		must(t, err)
		if err := m.Run(t.Context(), p).Err(); !errors.Is(err, away) {
			t.Errorf("%s: %v", family, err)
		}
		m.Store = good
		w.check(family, 1, 1, 1)
	}
}

// TestG07FailingCA: attempts, back-off, event; NotBefore is what the CA asked.
func TestG07FailingCA(t *testing.T) {
	w, m, g := start(t)
	ctx := t.Context()
	calls := 0
	var fail error
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
			if calls++; fail != nil {
				return nil, fail
			}
			return modelIssuer{w.ca, g}.Issue(ctx, r)
		}), nil
	}
	fail = inkan.Errorf(inkan.Temporary, "newOrder at ca.example", "busy\x1b[31m").WithHint("look at the status page")
	if err := issue(ctx, m, w.req); !errors.Is(err, inkan.Temporary) {
		t.Fatal(err)
	}
	begin := w.now()
	o := w.observed(m)
	if e := o.State.LastError; o.State.Attempts != 1 || e == nil || e.Kind != inkan.Temporary || strings.Contains(e.Message, "\x1b") || len(e.Hints) != 1 {
		t.Errorf("state %+v, error %+v", o.State, e)
	}
	for w.now().Sub(begin) < 30*day {
		must2(t, renew(ctx, m))
		w.advance(30 * time.Second)
		if w.now().Sub(begin) > 3*time.Hour {
			w.advance(time.Hour)
		}
	}
	if calls > 34 {
		t.Errorf("%d attempts in 30 days of failure", calls)
	}
	if got := w.observed(m).State.Attempts; got != calls {
		t.Errorf("%d attempts are recorded, %d were made", got, calls)
	}
	if n := len(events(t, m)); n != calls {
		t.Errorf("%d events for %d failures", n, calls)
	}
	for e := range state.Events(ctx, m.Store, time.Time{}, state.Wanted{}) {
		if e.Kind != inkan.EventFailed || e.Hint != "look at the status page" || !e.NextTry.After(e.At) || strings.Contains(e.Message, "\x1b") {
			t.Errorf("the event %+v", e)
		}
	}

	// The CA asks for ten seconds; our own back-off is a day. A person who asks
	// waits for the CA only.
	w.advance(day)
	fail = inkan.Errorf(inkan.RateLimited, "newOrder at ca.example", "too many").After(w.now().Add(10 * time.Second))
	before := calls
	must2(t, renew(ctx, m))
	fail = nil
	must(t, issue(ctx, m, w.req))
	if calls != before+1 || w.ca.issued() != 0 {
		t.Errorf("the CA was asked in spite of its Retry-After: %d calls", calls-before)
	}
	w.advance(11 * time.Second)
	must2(t, renew(ctx, m))
	if calls != before+1 {
		t.Error("a timer does not wait for the back-off")
	}
	must(t, issue(ctx, m, w.req))
	w.check("at last", 1, 1, 1)
	if st := w.observed(m).State; st.Attempts != 0 || st.LastError != nil || !st.NotBefore.IsZero() {
		t.Errorf("after the success: %+v", st)
	}
	w.calm(m, 1)
}

// must2 lets the failure of the scenario pass, nothing else.
func must2(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, inkan.Temporary) && !errors.Is(err, inkan.RateLimited) {
		t.Fatal(err)
	}
}

// TestA04Restart: another process honours the same deadline.
func TestA04Restart(t *testing.T) {
	w, m, g := start(t)
	until := w.now().Add(3 * time.Hour)
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return issuerFunc(func(context.Context, inkan.IssueRequest) (*inkan.Issued, error) {
			return nil, inkan.Errorf(inkan.RateLimited, "newOrder at ca.example", "429").After(until)
		}), nil
	}
	must2(t, issue(t.Context(), m, w.req))
	other := w.process(g)
	w.advance(3*time.Hour - time.Second)
	if err := issue(t.Context(), other, w.req); err != nil || w.ca.issued() != 0 {
		t.Errorf("before the time: %v, %d issued", err, w.ca.issued())
	}
	w.advance(time.Second)
	must(t, renew(t.Context(), other))
	w.check("afterwards", 1, 1, 1)
}

// TestA11Refused: what the CA must not answer is not stored and not served, and
// not asked for again at once.
func TestA11Refused(t *testing.T) {
	w, m, g := start(t)
	must(t, issue(t.Context(), m, w.req))
	other := newModelCA(w.now)
	calls := 0
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
		return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
			calls++
			key, err := inkan.GenerateKey(inkan.ECDSAP256)
			must(t, err)
			csr, err := inkan.NewCSR(key, r.Request.Identifiers) // of another key
			must(t, err)
			if _, err := r.CSR(ctx); err != nil {
				return nil, err
			}
			chain, err := other.sign(csr)
			return &inkan.Issued{Chains: [][]byte{chain}}, err
		}), nil
	}
	w.advance(61 * day)
	for range 100 {
		if err := renew(t.Context(), m); err != nil && !errors.Is(err, inkan.Bug) {
			t.Fatal(err)
		}
		w.advance(time.Minute)
	}
	if calls != 1 {
		t.Errorf("%d orders in 100 minutes", calls)
	}
	w.check("old one in force", 1, 1, 1)
	if n := len(keysBelow(t, w.store, "v/")); n != 2 {
		t.Errorf("%d values of versions, want the 2 of the first", n)
	}
	m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) { return modelIssuer{w.ca, g}, nil }
	w.advance(day)
	must(t, renew(t.Context(), m))
	w.check("renewed after all", 2, 2, 2)
	w.calm(m, 1)
}

// TestF01ManyProcesses: fifty processes that start together make one certificate.
func TestF01ManyProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var wg sync.WaitGroup
		errs := make([]error, 50)
		for i := range errs {
			m := w.process(&gate{})
			wg.Go(func() { errs[i] = issue(t.Context(), m, w.req) })
		}
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		}
		w.check("together", 1, 1, 1)
		w.calm(w.process(&gate{}), 1)
	})
}

// TestD11SlowOrder: an order that takes minutes keeps its lease, and its end does
// not race with the heartbeat.
func TestD11SlowOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m, g := start(t)
		begin := time.Now()
		w.ca.now = func() time.Time { return w.clock }
		m.Issuer = func(context.Context, string, string) (inkan.Issuer, error) {
			return issuerFunc(func(ctx context.Context, r inkan.IssueRequest) (*inkan.Issued, error) {
				time.Sleep(10 * time.Minute)
				return modelIssuer{w.ca, g}.Issue(ctx, r)
			}), nil
		}
		other := w.process(g)
		other.Owner.Boot = "another machine"
		done := make(chan error)
		go func() { done <- issue(t.Context(), m, w.req) }()
		time.Sleep(2 * time.Minute)
		if err := issue(t.Context(), other, w.req); !errors.Is(err, inkan.Pending) {
			t.Errorf("the other worker: %v, want pending", err)
		}
		if waited := time.Since(begin) - 2*time.Minute; waited < 60*time.Second || waited > 70*time.Second {
			t.Errorf("the other worker waited %v", waited)
		}
		must(t, <-done)
		w.check("slow", 1, 1, 1)
	})
}

// TestTidyStrayJournals: traces of orders that state does not name go, with what
// they show.
func TestTidyStrayJournals(t *testing.T) {
	w, m, _ := start(t)
	must(t, issue(t.Context(), m, w.req))
	w.shown["left"] = true
	must(t, engine.PutJournal(t.Context(), w.store, inkan.OrderRecord{Name: w.req.Name, Attempt: "feedfeedfeedfeed", KeyType: inkan.ECDSAP256,
		Challenges: []inkan.Challenge{{Solver: "model", Token: "left"}}}))
	must(t, engine.PutJournal(t.Context(), w.store, inkan.OrderRecord{Name: "nobody.example", Attempt: "beefbeefbeefbeef", KeyType: inkan.ECDSAP256}))
	must(t, renew(t.Context(), m))
	w.check("tidied", 1, 1, 1)
	if left := keysBelow(t, w.store, "orders/"); left != nil {
		t.Errorf("journals are left: %v", left)
	}
	w.calm(m, 1)
}

// TestD07DamagedVersion: reported by name, never deployed nor served, replaced by
// a new one.
func TestD07DamagedVersion(t *testing.T) {
	for _, which := range []string{"/cert", "/key"} {
		w, m, _ := start(t)
		ctx := t.Context()
		must(t, issue(ctx, m, w.req))
		key := ""
		for _, k := range keysBelow(t, w.store, "v/") {
			if strings.HasSuffix(k, which) {
				key = k
			}
		}
		data, rev, err := w.store.Get(ctx, key)
		must(t, err)
		data[len(data)/2] ^= 1
		_, err = w.store.Put(ctx, key, data, rev)
		must(t, err)
		o := w.observed(m)
		if d, ok := errors.AsType[*inkan.DamagedError](o.VersionErr); o.Version != nil || !ok || d.Key != key {
			t.Errorf("%s: version %v, %v", which, o.Version, o.VersionErr)
		}
		p, err := m.Plan(ctx, engine.PlanOptions{Scope: engine.All()})
		must(t, err)
		if s := p.Certificates[0].Steps[0]; s.Action != engine.ActionIssue || !strings.Contains(s.Reason, key) {
			t.Errorf("%s: planned %+v", which, s)
		}
		must(t, m.Run(ctx, p).Err())
		w.check("replaced", 2, 2, 2)
		w.calm(m, 1)
	}
}

// TestD07DamagedRecord: a record that is damaged is named, and nothing is done on
// its ground; the others go on.
func TestD07DamagedRecord(t *testing.T) {
	for _, prefix := range []string{"request/", "state/", "current/"} {
		w, m, _ := start(t)
		ctx := t.Context()
		must(t, issue(ctx, m, w.req))
		other := w.req
		other.Name = "other"
		must(t, issue(ctx, m, other))
		key := prefix + w.req.Name
		data, rev, err := w.store.Get(ctx, key)
		must(t, err)
		_, err = w.store.Put(ctx, key, data[:len(data)-3], rev)
		must(t, err)
		w.advance(61 * day)
		err = renew(ctx, m)
		if d, ok := errors.AsType[*inkan.DamagedError](err); !ok || d.Key != key || inkan.KindOf(err) != inkan.Operator {
			t.Errorf("%s: %v", prefix, err)
		}
		if n := w.ca.issued(); n != 3 {
			t.Errorf("%s: %d certificates, want the other one renewed", prefix, n)
		}
		if _, err := m.Requests(ctx); (err != nil) != (prefix == "request/") {
			t.Errorf("%s: Requests: %v", prefix, err)
		}
	}
}

func TestObserveUnknown(t *testing.T) {
	_, m, _ := start(t)
	if _, err := m.Observe(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) || inkan.KindOf(err) != inkan.Operator {
		t.Errorf("got %v", err)
	}
	if _, err := m.Observe(t.Context(), "../etc"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a bad name: %v", err)
	}
}
