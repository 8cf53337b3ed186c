package acme

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
)

// Q8, A01: a CA that refuses nine nonces of ten still gives every certificate,
// with at most 15 times the requests and without a run on newNonce. The long
// form gets 500.
func TestQ08NineOfTenNoncesRefused(t *testing.T) {
	count := 20
	if longForm() {
		count = 500
	}
	plain := newWorld(t, testca.Options{}, nil)
	plain.issue("warm.example.com")
	before := len(plain.ca.Requests())
	plain.issue("a.example.com")
	normal := len(plain.ca.Requests()) - before

	w := newWorld(t, testca.Options{NonceReject: 90}, nil)
	took := make([]time.Duration, count)
	work := make(chan int)
	var workers sync.WaitGroup
	for range 10 {
		workers.Go(func() {
			for i := range work {
				start := time.Now()
				r, j := w.request(fmt.Sprintf("n%d.example.com", i))
				issued, err := w.client.Issue(t.Context(), r)
				took[i] = time.Since(start)
				if err != nil {
					t.Errorf("certificate %d: %v", i, err)
					continue
				}
				checkIssued(t, issued, j)
			}
		})
	}
	for i := range count {
		work <- i
	}
	close(work)
	workers.Wait()
	slices.Sort(took)
	requests := len(w.ca.Requests())
	if len(w.ca.Certificates()) != count {
		t.Errorf("%d certificates of %d", len(w.ca.Certificates()), count)
	}
	if most := 15 * normal * count; requests > most {
		t.Errorf("%d requests, want at most %d", requests, most)
	}
	if took[count/2] > 3*time.Second && longForm() {
		t.Errorf("the median is %s, want at most 3 s", took[count/2])
	}
	worst := busiest(w.ca.Requests(), testca.PathNewNonce, time.Second)
	if worst > 20 {
		t.Errorf("%d newNonce requests in a second", worst)
	}
	t.Logf("proof: %d certificates: median %s, slowest %s, %d requests (%.1f times the normal %d each), at most %d newNonce a second",
		count, took[count/2].Round(time.Millisecond), took[count-1].Round(time.Millisecond), requests, float64(requests)/float64(normal*count), normal, worst)
}

// busiest returns the most requests to path in any window of d.
func busiest(requests []testca.Request, path string, d time.Duration) int {
	var window []time.Time
	most := 0
	for _, r := range requests {
		if r.Path != path {
			continue
		}
		window = append(window, r.Time)
		for r.Time.Sub(window[0]) >= d {
			window = window[1:]
		}
		most = max(most, len(window))
	}
	return most
}

// letsEncryptAfar is Pebble with Let's Encrypt's limits at a distance of 50 ms,
// and an engine whose account exists. The test fails on the first request over
// a limit.
func letsEncryptAfar(t *testing.T) *managed {
	t.Helper()
	w, p := newProxied(t, testca.Options{Boulder: true, Latency: 50 * time.Millisecond, CheckLimits: testca.LetsEncrypt()},
		func(c *Config) { c.Name = "letsencrypt" })
	if _, err := w.client.Register(t.Context(), RegisterOptions{AgreeTerms: true}); err != nil {
		t.Fatal(err)
	}
	e := w.newManaged(p) // a process of its own: no connection, no nonces
	e.m.Workers = 100
	return e
}

// measure runs what is due and returns the time and the requests it took.
func (e *managed) measure() (time.Duration, int) {
	e.t.Helper()
	before := len(e.ca.Requests())
	start := time.Now()
	if err := e.run(engine.PlanOptions{}).Err(); err != nil {
		e.t.Fatal(err)
	}
	took := time.Since(start)
	for _, path := range []string{testca.PathNewNonce, testca.PathNewOrder, testca.PathAuthz, testca.PathChallenge, testca.PathOrder, testca.PathFinalize, testca.PathCertificate} {
		e.t.Logf("%-16s %d", path, e.ca.Count(path))
	}
	return took, len(e.ca.Requests()) - before
}

// Q6: fifty names in one certificate under every limit of Let's Encrypt. How
// long it takes is a row of the bench.
func TestQ06FiftyNamesWithinLimits(t *testing.T) {
	e := letsEncryptAfar(t)
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("n%02d.example.com", i))
	}
	e.record("n00.example.com", names...)
	took, requests := e.measure()
	t.Logf("proof: 50 names: %s, %d requests, %d over a limit", took.Round(time.Millisecond), requests, len(e.ca.Violations()))
	if requests > 135 {
		t.Errorf("%d requests, want at most 135", requests)
	}
	e.issuedAll(1, 1)
}

// Q6: a hundred certificates in one run under every limit of Let's Encrypt.
// How long it takes is a row of the bench.
func TestQ06HundredCertificatesWithinLimits(t *testing.T) {
	e := letsEncryptAfar(t)
	for i := range 100 {
		e.record(fmt.Sprintf("n%02d", i), fmt.Sprintf("www.site%02d.example", i))
	}
	took, requests := e.measure()
	t.Logf("proof: 100 certificates: %s, %d requests, %d over a limit", took.Round(time.Millisecond), requests, len(e.ca.Violations()))
	e.issuedAll(100, 100)
}

// Q6: what cannot be had today is not asked for: the 51st certificate of a
// registered domain and the order after five failures wait for their time, and
// the CA sees no request for them.
func TestQ06OverTheLimitIsNotAsked(t *testing.T) {
	limits := testca.LetsEncrypt()
	w, p := newProxied(t, testca.Options{Boulder: true, CheckLimits: limits}, func(c *Config) { c.Name = "letsencrypt" })
	e := w.newManaged(p)
	for i := range 52 {
		e.record(fmt.Sprintf("n%02d", i), fmt.Sprintf("n%02d.example.com", i))
	}
	err := e.run(engine.PlanOptions{}).Err()
	wantError(t, err, inkan.RateLimited, "certificates for example.com at letsencrypt")
	if e.ca.Orders() != 50 || len(e.ca.Certificates()) != 50 {
		t.Errorf("%d orders, %d certificates", e.ca.Orders(), len(e.ca.Certificates()))
	}
	if wait := time.Until(inkan.RetryAfterOf(err)); wait < 3*time.Hour || wait > 7*time.Hour {
		t.Errorf("again in %s", wait)
	}

	e.solver.wrong = true
	e.record("bad", "bad.example.org")
	for range 8 {
		e.run(engine.PlanOptions{Scope: engine.Named("bad"), ByPerson: true})
	}
	failed := e.ca.Orders() - 50
	if failed != 5 {
		t.Errorf("%d orders for a name that fails, want 5", failed)
	}
	// A person who has mended it is served as soon as the CA allows.
	e.solver.wrong = false
	o := e.observe("bad")
	if o.State.LastError == nil || o.State.LastError.Kind != inkan.RateLimited {
		t.Errorf("last error: %+v", o.State.LastError)
	}
}
