package acme

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/state"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/store"
)

// managed is an inkan.Manager over stores in memory whose one CA is the world's.
type managed struct {
	*world
	m      *engine.Manager
	offset atomic.Int64 // of all clocks; Pebble believes in its own
}

// newManaged returns one whose CA stands behind p.
func (w *world) newManaged(p *testca.Proxy) *managed {
	w.t.Helper()
	e := &managed{world: w}
	now := func() time.Time { return time.Now().Add(time.Duration(e.offset.Load())) }
	// The engine asks the CA for a second opinion on the time, and orders and
	// authorizations expire in it.
	p.Add(testca.Rule{Do: testca.EditHeader(func(h http.Header) { h.Set("Date", now().UTC().Format(http.TimeFormat)) })})
	p.Add(testca.Rule{Do: testca.EditJSON(func(doc map[string]any) {
		if at, err := time.Parse(time.RFC3339, fmt.Sprint(doc["expires"])); err == nil {
			doc["expires"] = at.Add(time.Duration(e.offset.Load())).UTC().Format(time.RFC3339)
		}
	})})
	w.env.Now = now
	w.client = w.newClient()
	e.m = &engine.Manager{
		Store: store.Mem(), Now: now,
		Issuer: func(context.Context, string, string) (inkan.Issuer, error) { return w.client, nil },
		Solver: func(context.Context, string) (inkan.Solver, error) { return w.solver, nil },
	}
	return e
}

// record asks for one certificate.
func (e *managed) record(name string, domains ...string) {
	e.t.Helper()
	ids, err := inkan.ParseIdentifiers(domains)
	if err != nil {
		e.t.Fatal(err)
	}
	_, err = e.m.Record(e.t.Context(), inkan.CertificateRequest{
		Name: name, Identifiers: ids, CAs: []string{e.client.CA().Name}, Account: "default", KeyTypes: []inkan.KeyType{inkan.ECDSAP256},
		Validations: []inkan.Validation{{Type: inkan.HTTP01, Solver: "web"}},
	}, inkan.OriginCLI)
	if err != nil {
		e.t.Fatal(err)
	}
}

// run does what is due now.
func (e *managed) run(opt engine.PlanOptions) *engine.Report {
	e.t.Helper()
	p, err := e.m.Plan(e.t.Context(), opt)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.m.Run(e.t.Context(), p)
}

// sleep moves our clocks on.
func (e *managed) sleep(d time.Duration) { e.offset.Add(int64(d)) }

// observe returns what stands in the store.
func (e *managed) observe(name string) *engine.Observed {
	e.t.Helper()
	o, err := e.m.Observe(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	return o
}

// issuedAll checks that n certificates are in force, that the CA made that many
// and orders more than maxOrders, and that no journal is left.
func (e *managed) issuedAll(n, maxOrders int) {
	e.t.Helper()
	requests, err := e.m.Requests(e.t.Context())
	if err != nil || len(requests) != n {
		e.t.Fatalf("%d requests, %v", len(requests), err)
	}
	for _, r := range requests {
		o := e.observe(r.Name)
		if o.Version == nil || len(o.Orders) != 0 || o.State.Running != "" {
			e.t.Errorf("%s: version %v, %d journals, running %q", r.Name, o.Version != nil, len(o.Orders), o.State.Running)
		}
	}
	if got := len(e.ca.Certificates()); got != n {
		e.t.Errorf("%d certificates, want %d", got, n)
	}
	if got := e.ca.Orders(); got > maxOrders {
		e.t.Errorf("%d orders, want at most %d", got, maxOrders)
	}
	e.solver.mu.Lock()
	defer e.solver.mu.Unlock()
	if len(e.solver.answers) != 0 {
		e.t.Errorf("%d proofs are still shown", len(e.solver.answers))
	}
}

// A04: a restart honours what the CA asked: the next process sends nothing
// before that time, and then goes on.
func TestA04DeadlineSurvivesRestart(t *testing.T) {
	for _, path := range []string{testca.PathNewOrder, testca.PathAuthz, testca.PathFinalize, testca.PathCertificate} {
		w, p := newProxied(t, testca.Options{})
		e := w.newManaged(p)
		e.record("a.example.com", "a.example.com")
		rule := p.Add(testca.Rule{Path: path, Do: testca.Chain(testca.SetHeader("Retry-After", "7200"), testca.Answer(503, "", ""))})
		wantError(t, e.run(engine.PlanOptions{}).Err(), inkan.Temporary, "503")
		rule.Remove()
		requests := len(e.ca.Requests())
		for range 3 {
			e.sleep(30 * time.Minute)
			e.client = e.newClient()
			e.run(engine.PlanOptions{})
			e.run(engine.PlanOptions{Scope: engine.All(), ByPerson: true}) // not even when a person asks
		}
		if n := len(e.ca.Requests()) - requests; n != 0 {
			t.Errorf("%s: %d requests before the time", path, n)
		}
		e.sleep(31 * time.Minute)
		if err := e.run(engine.PlanOptions{}).Err(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		e.issuedAll(1, 1)
	}
}

// A05: an order that stays processing is kept and finished when the CA moves
// again; no other one is made meanwhile.
func TestA05StuckOrderIsKept(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	e := w.newManaged(p)
	e.record("a.example.com", "a.example.com")
	stuck := testca.EditJSON(func(doc map[string]any) {
		if doc["status"] == statusProcessing || doc["status"] == statusValid {
			doc["status"], doc["expires"] = statusProcessing, time.Now().Add(time.Second).UTC().Format(time.RFC3339)
			delete(doc, "certificate")
		}
	})
	order, finalize := p.Add(testca.Rule{Path: testca.PathOrder, Do: stuck}), p.Add(testca.Rule{Path: testca.PathFinalize, Do: stuck})
	for i, wait := range []time.Duration{0, 2 * time.Minute, 20 * time.Minute} {
		e.sleep(wait)
		err := e.run(engine.PlanOptions{}).Err()
		if i == 0 {
			wantError(t, err, inkan.Temporary, "still processing")
		}
	}
	if e.ca.Orders() != 1 {
		t.Errorf("%d orders while one was stuck", e.ca.Orders())
	}
	order.Remove()
	finalize.Remove()
	e.sleep(24 * time.Hour)
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	e.issuedAll(1, 1)
}

// A11: a download that is not what was asked for is never published, says why,
// and is not ordered again before its time.
func TestA11WrongDownload(t *testing.T) {
	words := map[testca.WrongKind]string{
		testca.OtherKey: "another key", testca.MissingName: "other names", testca.ExtraName: "other names", testca.Expired: "expired",
		testca.NotYetValid: "not valid before", testca.WrongIssuer: "not signed by the next", testca.DuplicateLeaf: "not signed by the next",
		testca.TextBefore: "something other than certificates", testca.WithKey: "something other than certificates",
		testca.EmptyChain: "empty", testca.HalfChain: "something other than certificates",
	}
	for _, kind := range testca.WrongKinds() {
		t.Run(string(kind), func(t *testing.T) {
			w, p := newProxied(t, testca.Options{})
			e := w.newManaged(p)
			e.record("a.example.com", "a.example.com", "b.example.com")
			if err := e.run(engine.PlanOptions{}).Err(); err != nil {
				t.Fatal(err)
			}
			before := e.observe("a.example.com")
			rule := p.Add(testca.Rule{Path: testca.PathCertificate, Do: testca.WrongCertificate(kind)})
			err := e.run(engine.PlanOptions{Scope: engine.All(), Renew: true}).Err()
			wantError(t, err, inkan.Bug, words[kind])
			after := e.observe("a.example.com")
			if after.Current.N != before.Current.N || after.Version == nil || !bytes.Equal(after.Version.Pairs[0].Leaf.Raw, before.Version.Pairs[0].Leaf.Raw) {
				t.Error("another version is in force")
			}
			// The private key of a stranger is nowhere, in no log or event.
			for event, err := range state.Events(t.Context(), e.m.Store, time.Time{}, state.Wanted{}) {
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(event.Message, "PRIVATE") {
					t.Errorf("event: %s", event.Message)
				}
			}
			requests := e.ca.Count(testca.PathNewOrder)
			for range 5 {
				e.sleep(15 * time.Minute)
				e.client = e.newClient()
				e.run(engine.PlanOptions{})
			}
			if n := e.ca.Count(testca.PathNewOrder) - requests; n != 0 {
				t.Errorf("%d orders before the back-off ended", n)
			}
			rule.Remove()
		})
	}
}

// A14 at Let's Encrypt: a renewal dies after its newOrder, whose reply it never
// saw. The next one is told alreadyReplaced, goes on once without `replaces`,
// and gets the same order again.
func TestA14KilledAfterNewOrder(t *testing.T) {
	w, p := newProxied(t, testca.Options{Boulder: true, CheckLimits: testca.LetsEncrypt()}, func(c *Config) { c.Name = "letsencrypt" })
	e := w.newManaged(p)
	e.record("a.example.com", "a.example.com")
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	p.Add(testca.Rule{Path: testca.PathNewOrder, Payload: `"replaces"`, To: 1, Do: testca.DropAfter()})
	wantError(t, e.run(engine.PlanOptions{Scope: engine.All(), Renew: true}).Err(), inkan.Temporary, "new order at 127.0.0.1:")
	asked := e.ca.Count(testca.PathNewOrder)
	e.client = e.newClient()
	e.sleep(2 * time.Minute)
	if err := e.run(engine.PlanOptions{Scope: engine.All(), Renew: true}).Err(); err != nil {
		t.Fatal(err)
	}
	if n := e.ca.Count(testca.PathNewOrder) - asked; n != 2 {
		t.Errorf("%d newOrder requests, want the refused one and one more", n)
	}
	if e.ca.Orders() != 2 || len(e.ca.Certificates()) != 2 {
		t.Errorf("%d orders, %d certificates, want 2 of each", e.ca.Orders(), len(e.ca.Certificates()))
	}
	if o := e.observe("a.example.com"); o.Current.N != 2 || len(o.Orders) != 0 {
		t.Errorf("n is %d, %d journals", o.Current.N, len(o.Orders))
	}
}

// A14: a renewal dies after finalize. The journalled order is finished, with
// the replacement it was made for.
func TestA14KilledAfterFinalize(t *testing.T) {
	w, p := newProxied(t, testca.Options{Boulder: true, CheckLimits: testca.LetsEncrypt()}, func(c *Config) { c.Name = "letsencrypt" })
	e := w.newManaged(p)
	e.record("a.example.com", "a.example.com")
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	p.Add(testca.Rule{Path: testca.PathFinalize, To: 1, Do: testca.DropAfter()})
	wantError(t, e.run(engine.PlanOptions{Scope: engine.All(), Renew: true}).Err(), inkan.Temporary, "finalize at 127.0.0.1:")
	e.client = e.newClient()
	asked := e.ca.Count(testca.PathNewOrder)
	e.sleep(2 * time.Minute)
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	if e.ca.Count(testca.PathNewOrder) != asked || len(e.ca.Certificates()) != 2 || e.observe("a.example.com").Current.N != 2 {
		t.Errorf("%d newOrder requests more, %d certificates", e.ca.Count(testca.PathNewOrder)-asked, len(e.ca.Certificates()))
	}
}

// A16: renewal information is down for ten days. Its errors change nothing: the
// certificate is renewed by the life that is left, and the CA is asked every
// hour at first, after half a day every six hours.
func TestA16RenewalInfoDown(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	e := w.newManaged(p)
	e.record("a.example.com", "a.example.com")
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	rule := p.Add(testca.Rule{Path: testca.PathRenewalInfo, Do: testca.Answer(503, "", "")})
	e.sleep(51 * 24 * time.Hour)
	for range 10 * 24 {
		if err := e.run(engine.PlanOptions{}).Err(); err != nil {
			t.Fatal(err)
		}
		if len(e.ca.Certificates()) > 1 {
			break
		}
		e.sleep(time.Hour)
	}
	o := e.observe("a.example.com")
	left := o.Version.Pairs[0].Leaf.NotAfter
	if len(e.ca.Certificates()) != 2 || o.Current.N != 2 {
		t.Fatalf("%d certificates after 61 days, n is %d", len(e.ca.Certificates()), o.Current.N)
	}
	// 90 days, a third of them left, at most 2 % earlier.
	if day := time.Duration(e.offset.Load()) / (24 * time.Hour); day < 57 || day > 60 {
		t.Errorf("renewed on day %d (%s)", day, left)
	}
	if max := 10*4 + 12; rule.Hits() == 0 || rule.Hits() > max {
		t.Errorf("asked %d times, want 1 to %d", rule.Hits(), max)
	}
	if o.State.ARI.Error == "" && rule.Hits() == 0 {
		t.Error("the error of the CA is not kept")
	}
}

// A11: a CA whose certificates are due for renewal when they come, because it
// hands out old ones or dates them back, is not asked again and again: the
// second one waits for half of its life.
func TestA11DueWhenItComes(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	e := w.newManaged(p)
	e.record("a.example.com", "a.example.com")
	e.sleep(70 * 24 * time.Hour) // Pebble's clock stays: 20 of 90 days are left
	for range 24 {
		if err := e.run(engine.PlanOptions{}).Err(); err != nil {
			t.Fatal(err)
		}
		e.sleep(time.Hour)
	}
	if n := len(e.ca.Certificates()); n != 2 {
		t.Errorf("%d certificates in a day, want 2", n)
	}
	e.sleep(10 * 24 * time.Hour)
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	if n := len(e.ca.Certificates()); n != 3 {
		t.Errorf("%d certificates after half of its life, want 3", n)
	}
}

// A17: the CA has lost the account. No run makes a new one, whatever is due.
func TestA17ManyCertificatesNoAccount(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	e := w.newManaged(p)
	e.record("first.example.com", "first.example.com")
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		t.Fatal(err)
	}
	accounts := e.ca.Count(testca.PathNewAccount)
	p.Add(testca.Rule{Path: testca.PathNewOrder, Do: testca.AccountGone()})
	for i := range 10 {
		e.record(fmt.Sprintf("n%d.example.com", i), fmt.Sprintf("n%d.example.com", i))
	}
	for range 3 {
		e.client = e.newClient()
		wantError(t, e.run(engine.PlanOptions{Scope: engine.All(), ByPerson: true}).Err(), inkan.Operator, "no longer knows the account")
	}
	if n := e.ca.Count(testca.PathNewAccount) - accounts; n != 0 {
		t.Errorf("%d newAccount requests", n)
	}
	if e.observe("first.example.com").Version == nil {
		t.Error("what was in force is gone")
	}
}

// A25: the CA goes away in the middle of many orders and comes back. All are
// finished, none twice, whether requests are cut off, refused or lose their
// replies, and the CA is spared in its first minute: five requests a second.
func TestA25OutageInTheMiddle(t *testing.T) {
	names, perSecond := 8, rate.Limit(10*easeRate) // the quick form has no minute
	if longForm() {
		names, perSecond = 200, easeRate
	}
	for what, fault := range map[string]testca.Fault{
		"unreachable":  testca.DropBefore(),
		"503":          testca.Answer(503, "", ""),
		"replies lost": testca.DropAfter(),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // most of it is sparing the CA
			w, p := newProxied(t, testca.Options{Boulder: true})
			e := w.newManaged(p)
			process := func() {
				e.client = e.newClient()
				e.client.throttle.easing.perSecond = perSecond
			}
			for i := range names {
				e.record(fmt.Sprintf("n%d.example.com", i), fmt.Sprintf("n%d.example.com", i))
			}
			// From the middle of the challenges on nothing passes.
			outage := make(chan func(), 1)
			begin := p.Add(testca.Rule{Path: testca.PathChallenge, From: names / 4, To: names / 4, Do: testca.Delay(0)})
			go func() {
				select {
				case <-begin.First():
					outage <- p.Outage(fault)
				case <-t.Context().Done():
				}
			}()
			err := e.run(engine.PlanOptions{}).Err()
			wantError(t, err, inkan.Temporary)
			end := <-outage
			done := len(e.ca.Certificates())
			for _, wait := range []time.Duration{2 * time.Minute, 15 * time.Minute, 2 * time.Hour} { // 1, 10, 100 minutes
				e.sleep(wait)
				process()
				if e.run(engine.PlanOptions{}).Err() == nil {
					t.Error("a run during the outage succeeded")
				}
			}
			end()
			e.sleep(25 * time.Hour)
			process()
			before := len(e.ca.Requests())
			if err := e.run(engine.PlanOptions{}).Err(); err != nil {
				t.Fatal(err)
			}
			e.issuedAll(names, names)
			requests := e.ca.Requests()[before:]
			spared := 0
			for i, r := range requests {
				since := r.Time.Sub(requests[0].Time)
				if since >= easeTime {
					break
				}
				spared = i + 1
				// Sixteen workers' requests may be under way at once, and arrive together.
				if most := easeBurst + 16 + since.Seconds()*float64(perSecond); float64(spared) > most {
					t.Fatalf("%d requests in the first %s, want at most %.0f", spared, since, most)
				}
			}
			t.Logf("proof: %d of %d were finished before; on return %d requests in the first minute (%.1f a second), %d altogether", done, names, spared, float64(perSecond), len(requests))
		})
	}
}
