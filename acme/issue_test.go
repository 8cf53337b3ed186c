package acme

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// The budget of one renewal: account and directory known, http-01.
func TestIssueOneName(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.issue("first.example.com") // makes the account

	before, writes := len(w.ca.Requests()), w.accounts.writes
	w.client = w.newClient() // another process: directory and account come from the record
	connections := w.ca.Connections()
	r, j := w.request("a.example.com")
	leaf := w.mustIssue(r, j)
	requests := w.ca.Requests()[before:]
	if len(requests) > 10 {
		t.Errorf("%d requests, want at most 10: %v", len(requests), requests)
	}
	if n := w.ca.Connections() - connections; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if j.updates > 4 {
		t.Errorf("%d journal writes, want at most 4", j.updates)
	}
	if w.accounts.writes != writes {
		t.Errorf("%d account writes, want none", w.accounts.writes-writes)
	}
	if !leaf.NotAfter.After(time.Now()) {
		t.Errorf("the certificate ended at %s", leaf.NotAfter)
	}
	if rec := j.record(); len(rec.Challenges) != 1 || rec.Challenges[0].Identifier.Value != "a.example.com" || rec.Expires.IsZero() {
		t.Errorf("journal: %+v", rec)
	}
}

func TestIssueFiftyNames(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("n%02d.example.com", i))
	}
	r, j := w.request(names...)
	w.mustIssue(r, j)
	if n := w.ca.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if len(j.record().Challenges) != 50 || w.ca.Orders() != 1 {
		t.Errorf("%d challenges, %d orders", len(j.record().Challenges), w.ca.Orders())
	}
	if j.updates > 4 {
		t.Errorf("%d journal writes, want at most 4", j.updates)
	}
}

// Authorizations that are valid already need no solver.
func TestIssueReusesAuthorizations(t *testing.T) {
	w := newWorld(t, testca.Options{AuthzReuse: 100}, nil)
	w.issue("a.example.com")
	presented := w.solver.presented
	r, j := w.request("a.example.com")
	r.Solvers, r.Request.Validations = nil, nil
	w.mustIssue(r, j)
	if w.solver.presented != presented {
		t.Error("a solver was asked for a valid authorization")
	}
	if len(j.record().Challenges) != 0 {
		t.Errorf("challenges were journalled: %v", j.record().Challenges)
	}
}

// The undo of a solver is journalled, and costs one write.
func TestIssueJournalsUndo(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.solver.undo = []byte(`{"id":7}`)
	r, j := w.request("a.example.com", "b.example.com")
	w.mustIssue(r, j)
	if j.updates > 5 {
		t.Errorf("%d journal writes, want at most 5", j.updates)
	}
	for _, c := range j.record().Challenges {
		if string(c.Undo) != `{"id":7}` {
			t.Errorf("undo of %s: %q", c.Identifier, c.Undo)
		}
	}
}

func TestIssueSolverWithoutWitness(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, j := w.request("a.example.com", "b.example.com")
	r.Solvers = map[string]inkan.Solver{"web": plainSolver{w.solver}}
	w.mustIssue(r, j)
}

// Once the CA gives a Retry-After, one early look is all it costs when the CA
// is faster than it says.
func TestIssueRetryAfter(t *testing.T) {
	w := newWorld(t, testca.Options{RetryAfterAuthz: 3, RetryAfterOrder: 5}, nil)
	w.issue("first.example.com")
	start := time.Now()
	w.issue("a.example.com")
	if d := time.Since(start); d > 2500*time.Millisecond {
		t.Errorf("it took %s", d)
	}
}

func TestIssueIPIdentifier(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	leaf := w.issue("127.0.0.1", "a.example.com")
	if len(leaf.IPAddresses) != 1 || leaf.IPAddresses[0].String() != "127.0.0.1" {
		t.Errorf("addresses: %v", leaf.IPAddresses)
	}
}

// A09: long chains and other roots are all kept, the default first.
func TestA09AlternateChains(t *testing.T) {
	w := newWorld(t, testca.Options{ChainLength: 3, AlternateRoots: 2}, nil)
	r, j := w.request("a.example.com")
	issued, err := w.client.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	checkIssued(t, issued, j)
	if len(issued.Chains) != 3 {
		t.Fatalf("%d chains, want 3", len(issued.Chains))
	}
	for i, chain := range issued.Chains {
		if n := strings.Count(string(chain), "BEGIN CERTIFICATE"); n != 4 {
			t.Errorf("chain %d has %d certificates, want 4", i, n)
		}
	}
}

func TestIssueKeyTypes(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	for _, kt := range []inkan.KeyType{inkan.ECDSAP384, inkan.RSA2048} {
		r, j := w.request("a.example.com")
		r.KeyType, j.rec.KeyType = kt, kt
		leaf := w.mustIssue(r, j)
		if got, err := inkan.KeyTypeOf(leaf.PublicKey); got != kt || err != nil {
			t.Errorf("key type %s (%v), want %s", got, err, kt)
		}
	}
}

func TestIssueProfile(t *testing.T) {
	profiles := map[string]testca.Profile{"classic": {ValidityPeriod: 90 * 24 * time.Hour}, "shortlived": {ValidityPeriod: 6 * 24 * time.Hour}}
	w := newWorld(t, testca.Options{Profiles: profiles}, nil)
	for _, required := range []bool{false, true} {
		r, j := w.request("a.example.com")
		r.Request.Profile, r.Request.RequireProfile = "shortlived", required
		leaf := w.mustIssue(r, j)
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 7*24*time.Hour {
			t.Errorf("required %v: life %s", required, life)
		}
	}
	r, j := w.request("a.example.com") // preferred but not there
	r.Request.Profile = "gone"
	w.mustIssue(r, j)
}

// A23: a required profile that is not offered is refused before ordering.
func TestA23RequiredProfileGone(t *testing.T) {
	w := newWorld(t, testca.Options{Profiles: map[string]testca.Profile{"classic": {}, "other": {}}}, nil)
	r, _ := w.request("a.example.com")
	r.Request.Profile, r.Request.RequireProfile = "shortlived", true
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "shortlived", "classic, other")
	if w.ca.Orders() != 0 {
		t.Error("an order was made")
	}
}

func TestIssueLifetime(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, j := w.request("a.example.com")
	r.Request.Lifetime = 48 * time.Hour
	leaf := w.mustIssue(r, j)
	if left := time.Until(leaf.NotAfter); left > 49*time.Hour || left < 47*time.Hour {
		t.Errorf("the certificate ends in %s", left)
	}
}

// Many orders at once share one connection, one account and the nonces.
func TestIssueManyAtOnce(t *testing.T) {
	w := newWorld(t, testca.Options{NonceReject: 5}, nil)
	errs := make(chan error)
	const orders = 16
	for i := range orders {
		r, _ := w.request(fmt.Sprintf("n%d.example.com", i))
		go func() {
			_, err := w.client.Issue(t.Context(), r)
			errs <- err
		}()
	}
	for range orders {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := w.ca.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if n := w.ca.Count(testca.PathNewAccount); n > 3 { // 5 % bad nonces
		t.Errorf("%d newAccount requests", n)
	}
	if n := len(w.ca.Certificates()); n != orders {
		t.Errorf("%d certificates, want %d", n, orders)
	}
}

// Pebble stands in under the name letsencrypt, whose limits then hold.
func TestKnownCAOverride(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.Name = "letsencrypt" })
	w.issue("a.example.com", "b.example.com")
	if ca := w.client.CA(); ca.Title != "Let's Encrypt" || ca.Directory != w.ca.DirectoryURL {
		t.Errorf("CA: %+v", ca)
	}
	for part, want := range map[string]int{"limits/letsencrypt/default/orders": 1, "/domain/": 1, "/set/": 1} {
		if got := w.limiter.held(part); got != want {
			t.Errorf("%d tokens of %s, want %d", got, part, want)
		}
	}
}

// panicky is a solver with a fault of its own.
type panicky struct{ inkan.Solver }

func (panicky) Present(context.Context, []inkan.Challenge) ([]inkan.Undo, error) { panic("boom\x1b") }

// C30: a plug-in that panics costs the order, not the process.
func TestC30PanicInSolver(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, j := w.request("a.example.com")
	r.Solvers = map[string]inkan.Solver{"web": panicky{w.solver}}
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Bug, "solver web", `panicked: boom\u001b`)
	if len(j.record().Challenges) != 1 {
		t.Error("the challenge is not journalled, so it would not be cleaned up")
	}
}

// A solver may need time until the CA can see the proof, and may fail in it.
type slowSolver struct {
	inkan.Solver
	wait func(context.Context) error
}

func (s slowSolver) Wait(ctx context.Context, _ []inkan.Challenge) error { return s.wait(ctx) }

func TestIssueWaitsForSolver(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, j := w.request("a.example.com")
	answered := -1
	r.Solvers = map[string]inkan.Solver{"web": slowSolver{w.solver, func(context.Context) error {
		answered = w.ca.Count(testca.PathChallenge)
		return nil
	}}}
	w.mustIssue(r, j)
	if answered != 0 {
		t.Errorf("%d challenges were answered before the wait", answered)
	}
	r, j = w.request("b.example.com")
	r.Solvers = map[string]inkan.Solver{"web": slowSolver{w.solver, func(context.Context) error {
		return inkan.Errorf(inkan.Temporary, "dns", "server ns2.example lags behind")
	}}}
	before := w.ca.Count(testca.PathChallenge)
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Temporary, "solver web", "ns2.example lags behind")
	if w.ca.Count(testca.PathChallenge) != before {
		t.Error("the challenge was answered all the same")
	}
	r.Solvers = map[string]inkan.Solver{"web": w.solver} // the next run goes on with the same order
	orders := w.ca.Orders()
	w.mustIssue(r, j)
	if w.ca.Orders() != orders {
		t.Error("a new order was made")
	}
}
