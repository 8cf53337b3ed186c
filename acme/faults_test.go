package acme

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/engine"
	"github.com/inkan-acme/inkan/internal/testca"
)

// newProxied is newWorld behind a fault proxy.
func newProxied(t *testing.T, o testca.Options, edit ...func(*Config)) (*world, *testca.Proxy) {
	t.Helper()
	p := testca.NewProxy(1)
	o.Middleware = p.Wrap
	return newWorld(t, o, nil, edit...), p
}

// signedTo returns the POST requests so far.
func (w *world) posts() int {
	n := 0
	for _, r := range w.ca.Requests() {
		if r.Method == http.MethodPost {
			n++
		}
	}
	return n
}

// A04: every kind of Retry-After, with 503 and 429, at every endpoint. What the
// CA asks is kept, clamped to [1 s, 24 h]; what makes no sense leaves the time
// to us.
func TestA04EveryRetryAfterEverywhere(t *testing.T) {
	now := time.Now()
	inTwo := now.Add(2 * time.Minute).UTC().Format(http.TimeFormat)
	// The proxy's answers are held until the header is whole, so they carry
	// the Date of the test CA itself.
	variants := map[string]time.Duration{ // 0: left to us
		"": 0, "120": 2 * time.Minute, inTwo: 2 * time.Minute, "soon": 0, "0": time.Second, "-5": 0, "99999999": 24 * time.Hour,
	}
	for _, path := range []string{testca.PathDirectory, testca.PathNewNonce, testca.PathNewAccount, testca.PathNewOrder,
		testca.PathAuthz, testca.PathChallenge, testca.PathOrder, testca.PathFinalize, testca.PathCertificate, testca.PathRevoke, testca.PathRenewalInfo} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			t.Parallel()
			w, p := newProxied(t, testca.Options{})
			leaf := w.issue("a.example.com")
			account := *w.accounts.rec
			for value, want := range variants {
				for _, status := range []int{429, 503} {
					w.accounts.rec = nil // so that directory and account are asked for
					if path != testca.PathDirectory && path != testca.PathNewAccount {
						rec := account
						w.accounts.rec = &rec
					}
					w.client = w.newClient()
					refusal := testca.Answer(status, "", "") // no body, no nonce: "Service busy"
					if value != "" {
						refusal = testca.Chain(testca.SetHeader("Retry-After", value), refusal)
					}
					rule := p.Add(testca.Rule{Path: path, Do: refusal})
					requests := w.ca.Count(path)
					var err error
					switch path {
					case testca.PathRevoke:
						err = w.client.Revoke(t.Context(), leaf, inkan.Superseded, nil)
					case testca.PathRenewalInfo:
						_, err = w.client.RenewalInfo(t.Context(), leaf)
					default:
						r, _ := w.request("b.example.com")
						r.Limiter = newMemLimiter()
						_, err = w.client.Issue(t.Context(), r)
					}
					rule.Remove()
					kind := inkan.Temporary
					if status == 429 {
						kind = inkan.RateLimited
					}
					wantError(t, err, kind, " at 127.0.0.1:", fmt.Sprint(status))
					at := inkan.RetryAfterOf(err)
					if wait := time.Until(at); want == 0 && !at.IsZero() || want > 0 && (wait > want || wait < want-15*time.Second) {
						t.Errorf("Retry-After %q, status %d: again in %s, want %s: %v", value, status, wait, want, err)
					}
					// A refusal is not asked again, but for a look at the order
					// without a time and the parallel looks of one step.
					if n := w.ca.Count(path) - requests; n > 2 && (path != testca.PathOrder || n > 1+lostLooks) {
						t.Errorf("Retry-After %q, status %d: %d requests", value, status, n)
					}
				}
			}
		})
	}
}

// A06: an order that the CA declares invalid with subproblems after its
// authorizations were valid.
func TestA06SubproblemsOfTheOrder(t *testing.T) {
	w, p := newProxied(t, testca.Options{})
	p.Add(testca.Rule{Path: testca.PathOrder, Do: testca.EditJSON(func(doc map[string]any) {
		doc["status"] = statusInvalid
		doc["error"] = map[string]any{"type": errorNamespace + "caa", "detail": "Error finalizing order", "status": 403, "subproblems": []any{
			map[string]any{"type": errorNamespace + "caa", "detail": "CAA record for a.example.com prevents issuance", "identifier": map[string]any{"type": "dns", "value": "a.example.com"}},
			map[string]any{"type": errorNamespace + "dns", "detail": "SERVFAIL looking up CAA for b.example.com", "identifier": map[string]any{"type": "dns", "value": "b.example.com"}},
		}}
	})})
	r, _ := w.request("a.example.com", "b.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "a.example.com: caa: CAA record for a.example.com prevents issuance", "b.example.com: dns: SERVFAIL", "CAA records", inkan.ErrOrderDead.Error())
}

// A06: authorizations that were valid when the order was made turn invalid. The
// names that failed are told, the others are not blamed, and their
// authorizations serve the next order.
func TestA06ValidAuthorizationFlips(t *testing.T) {
	w, p := newProxied(t, testca.Options{AuthzReuse: 100})
	w.issue("good.example.com")
	w.issue("flips.example.com")
	presented := w.solver.presented
	orders := p.Add(testca.Rule{Path: testca.PathNewOrder, Do: testca.EditJSON(func(doc map[string]any) { doc["status"] = statusPending })})
	authzs := p.Add(testca.Rule{Path: testca.PathAuthz, Do: testca.EditJSON(func(doc map[string]any) {
		if strings.Contains(fmt.Sprint(doc["identifier"]), "flips.") {
			doc["status"] = statusInvalid
			doc["challenges"] = []any{map[string]any{"type": "http-01", "status": "invalid", "error": map[string]any{"type": errorNamespace + "unauthorized", "detail": "secondary validation failed"}}}
		}
	})})
	r, _ := w.request("flips.example.com", "good.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "1 of 2 names", "flips.example.com (http-01)", "secondary validation failed", inkan.ErrOrderDead.Error())
	if strings.Contains(err.Error(), "good.") {
		t.Errorf("a good name is blamed: %v", err)
	}
	orders.Remove()
	authzs.Remove()
	w.issue("good.example.com")
	if w.solver.presented != presented {
		t.Error("a valid authorization was proved again")
	}
}

// A17: at every endpoint the loss of the account ends the work without a new
// one being made, and nothing is asked twice.
func TestA17NoAccountOnARetryPath(t *testing.T) {
	for _, path := range []string{testca.PathNewOrder, testca.PathAuthz, testca.PathChallenge, testca.PathOrder, testca.PathFinalize, testca.PathCertificate} {
		w, p := newProxied(t, testca.Options{})
		w.issue("a.example.com")
		accounts := w.ca.Count(testca.PathNewAccount)
		p.Add(testca.Rule{Path: path, Do: testca.AccountGone()})
		for range 2 {
			r, _ := w.request("b.example.com")
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Operator, "accountDoesNotExist", "no new one is made automatically")
		}
		if n := w.ca.Count(testca.PathNewAccount) - accounts; n != 0 {
			t.Errorf("%s: %d newAccount requests", path, n)
		}
	}
}

// A19: what the CA refuses for good is not asked again by itself: the next try
// comes in a day.
func TestA19PermanentRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, path, kind, detail string
		status                   int
		want                     inkan.Kind
		hint                     string
	}{
		{"name", testca.PathNewOrder, "rejectedIdentifier", "The ACME server refuses to issue a certificate for this domain name", 400, inkan.Rejected, "remove it from the certificate"},
		{"address", testca.PathNewOrder, "unsupportedIdentifier", "IP address identifiers are not supported", 400, inkan.Rejected, "another CA"},
		{"profile", testca.PathNewOrder, "invalidProfile", "profile not recognized", 400, inkan.Rejected, "a profile that the CA offers"},
		{"CSR", testca.PathFinalize, "badCSR", "CSR contains a public key that is too small", 400, inkan.Rejected, "another key type"},
		{"must-staple", testca.PathFinalize, "unauthorized", "OCSP must-staple extension is no longer available", 403, inkan.Operator, "look at what the CA says"},
		{"EAB", testca.PathNewAccount, "unauthorized", "external account binding is wrong", 403, inkan.Operator, "look at what the CA says"},
		{"paused", testca.PathNewOrder, "rateLimited", "Your account is temporarily prevented from requesting certificates", 429, inkan.RateLimited, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, p := newProxied(t, testca.Options{})
			rule := p.Add(testca.Rule{Method: http.MethodPost, Path: tt.path, Do: testca.Problem(tt.status, tt.kind, tt.detail)})
			r, _ := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, tt.want, tt.detail, tt.hint, " at 127.0.0.1:")
			if rule.Hits() != 1 {
				t.Errorf("asked %d times", rule.Hits())
			}
			now := time.Now()
			if tt.want != inkan.RateLimited && engine.NextTry(err, 2, now).Sub(now) != 24*time.Hour {
				t.Errorf("tried again at %s", engine.NextTry(err, 2, now))
			}
		})
	}
}

// A23: the profile on record is gone at the CA. A wished one is left out; a
// required one ends the work and what is offered is told.
func TestA23ProfileVanishes(t *testing.T) {
	offers := func(profiles map[string]testca.Profile) *world {
		return newWorld(t, testca.Options{Profiles: profiles}, nil)
	}
	old := offers(map[string]testca.Profile{"classic": {}, "tlsclient": {}})
	r, j := old.request("a.example.com")
	r.Request.Profile, r.Request.RequireProfile = "tlsclient", true
	old.mustIssue(r, j)

	// The same directory, but without the profile; the record still has it.
	w := offers(map[string]testca.Profile{"classic": {}, "short": {}})
	w.issue("first.example.com")
	w.accounts.rec.Directory = []byte(strings.Replace(string(w.accounts.rec.Directory), `"classic"`, `"tlsclient": "gone", "classic"`, 1))
	if !strings.Contains(string(w.accounts.rec.Directory), "tlsclient") {
		t.Fatalf("directory: %s", w.accounts.rec.Directory)
	}
	w.client = w.newClient()
	orders := w.ca.Orders()
	r, _ = w.request("b.example.com")
	r.Request.Profile, r.Request.RequireProfile = "tlsclient", true
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "tlsclient", "classic, short")
	if w.ca.Orders() != orders {
		t.Error("an order was made")
	}
	r, j = w.request("b.example.com")
	r.Request.Profile = "tlsclient"
	w.mustIssue(r, j)
}

// A24: http URLs wherever the CA may name one. The client stops there: it sends
// nothing after the answer that named it.
func TestA24PlainHTTPEverywhere(t *testing.T) {
	for _, path := range []string{testca.PathDirectory, testca.PathNewAccount, testca.PathNewOrder, testca.PathAuthz, testca.PathOrder, testca.PathFinalize} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			w, p := newProxied(t, testca.Options{RetryAfterOrder: 1}) // so that finalize leaves the order processing
			p.Add(testca.Rule{Path: path, Do: testca.PlainHTTP()})
			r, _ := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			if path == testca.PathFinalize && err == nil {
				return // its answer names nothing that is asked: the order is read at the URL on record
			}
			wantError(t, err, inkan.Operator, "http://127.0.0.1:", "is not https")
			requests := w.ca.Requests()
			i := slices.IndexFunc(requests, func(r testca.Request) bool { return strings.HasPrefix(r.Path, path) })
			for _, r := range requests[i+1:] {
				if r.Method == http.MethodPost && !strings.HasPrefix(r.Path, path) {
					t.Errorf("%s %s was sent after it", r.Method, r.Path)
				}
			}
			if path == testca.PathDirectory && w.posts() != 0 {
				t.Errorf("%d signed requests", w.posts())
			}
			if w.solver.presented != 0 && (path == testca.PathNewOrder || path == testca.PathAuthz) {
				t.Error("something was presented")
			}
		})
	}
}

// J10: answers of 100 MB and answers that trickle, at every endpoint.
func TestJ10OversizeEverywhere(t *testing.T) {
	for _, path := range []string{testca.PathNewAccount, testca.PathAuthz, testca.PathChallenge, testca.PathOrder, testca.PathFinalize} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			w, p := newProxied(t, testca.Options{})
			rule := p.Add(testca.Rule{Path: path, Do: testca.Oversize(100<<20, 0)})
			r, j := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Temporary, "larger than 1 MiB")
			rule.Remove()
			rule = p.Add(testca.Rule{Path: path, Do: testca.Oversize(-1, 5*time.Millisecond)})
			w.client.bodyTime = 100 * time.Millisecond
			if path == testca.PathNewAccount || j.record().OrderURL == "" {
				r, j = w.request("a.example.com")
			}
			start := time.Now()
			if _, err = w.client.Issue(t.Context(), r); err != nil {
				wantError(t, err, inkan.Temporary, "took too long")
			} else if rule.Hits() > 0 {
				t.Error("a trickle was taken for an answer")
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("it took %s", d)
			}
			rule.Remove()
			w.mustIssue(r, j)
			if w.ca.Orders() > 2 || len(w.ca.Certificates()) != 1 {
				t.Errorf("%d orders, %d certificates", w.ca.Orders(), len(w.ca.Certificates()))
			}
		})
	}
}
