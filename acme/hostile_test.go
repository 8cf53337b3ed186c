package acme

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// rewrite lets edit change the JSON answers to requests below path.
func rewrite(path string, edit func(doc map[string]any)) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.HasPrefix(r.URL.Path, path) {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		doc := map[string]any{}
		body := rec.Body.Bytes()
		if json.Unmarshal(body, &doc) == nil && rec.Code < 300 {
			edit(doc)
			body, _ = json.Marshal(doc)
		}
		copyHeader(w.Header(), rec.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.Code)
		w.Write(body)
	}
}

func copyHeader(to, from http.Header) {
	for k, v := range from {
		to[k] = v
	}
}

// on answers the requests below path with answer, from the n-th one on.
func on(path string, n int64, answer http.HandlerFunc) func(http.ResponseWriter, *http.Request, http.Handler) {
	var count atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, path) && count.Add(1) >= n {
			answer(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// A01: nine nonces of ten are refused.
func TestA01MostNoncesRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	w := newWorld(t, testca.Options{NonceReject: 90}, nil)
	w.issue("a.example.com")
	if n := len(w.ca.Requests()); n > 15*12 {
		t.Errorf("%d requests", n)
	}
	if w.ca.Orders() != 1 {
		t.Errorf("%d orders", w.ca.Orders())
	}
}

// A02: every nonce is refused, and the refusals carry none.
func TestA02EveryNonceRefused(t *testing.T) {
	for name, strip := range map[string]bool{"with a nonce": false, "without a nonce": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method != http.MethodPost {
					next.ServeHTTP(w, r)
					return
				}
				if !strip {
					w.Header().Set("Replay-Nonce", "bm90LXdoYXQteW91LXdhbnQ")
				}
				problem(w, 400, badNonce, "JWS has an invalid anti-replay nonce")
			})
			w.client.nonceTime = 600 * time.Millisecond
			r, _ := w.request("a.example.com")
			start := time.Now()
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Temporary, "refused", "nonces in a row", "badNonce")
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
			if n := w.ca.Count(testca.PathNewNonce); n > 12 {
				t.Errorf("%d newNonce requests in 0.6 s", n)
			}
		})
	}
}

// Answers without Replay-Nonce, good ones and errors, are no trouble.
func TestA02NonceIsOptional(t *testing.T) {
	w := newWorld(t, testca.Options{NonceReject: 20}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		rec.Header().Del("Replay-Nonce")
		copyHeader(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	})
	w.issue("a.example.com", "b.example.com")
}

// A03: nonces of two hours ago are not used.
func TestA03OldNonces(t *testing.T) {
	var offset atomic.Int64
	w := newWorld(t, testca.Options{}, nil)
	w.env.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	w.client = w.newClient()
	w.issue("a.example.com")
	for _, by := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		before := w.ca.Count(testca.PathNewNonce)
		offset.Add(int64(by))
		w.issue("b.example.com")
		if w.ca.Count(testca.PathNewNonce) == before {
			t.Errorf("clock moved by %s: old nonces were used", by)
		}
	}
}

// A04: 503 and 429 on each endpoint, with every kind of Retry-After.
func TestA04RetryAfter(t *testing.T) {
	for _, path := range []string{testca.PathDirectory, testca.PathNewNonce, testca.PathNewAccount, testca.PathNewOrder,
		testca.PathAuthz, testca.PathChallenge, testca.PathOrder, testca.PathFinalize, testca.PathCertificate} {
		for _, status := range []int{429, 503} {
			t.Run(fmt.Sprintf("%s %d", strings.Trim(path, "/"), status), func(t *testing.T) {
				w := newWorld(t, testca.Options{}, on(path, 1, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", "120")
					w.WriteHeader(status) // no body, no nonce: "Service busy"
				}))
				r, _ := w.request("a.example.com")
				_, err := w.client.Issue(t.Context(), r)
				kind := inkan.Temporary
				if status == 429 {
					kind = inkan.RateLimited
				}
				wantError(t, err, kind, " at 127.0.0.1:")
				if wait := time.Until(inkan.RetryAfterOf(err)); wait < 115*time.Second || wait > 121*time.Second {
					t.Errorf("it would try again in %s: %v", wait, err)
				}
			})
		}
	}
}

// A04: what a 429 on newOrder said is remembered for the next process, also
// for a CA whose limits nobody knows.
func TestA04RateLimitIsRemembered(t *testing.T) {
	w := newWorld(t, testca.Options{}, on(testca.PathNewOrder, 1, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		problem(w, 429, rateLimited, "too many new orders")
	}))
	r, _ := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.RateLimited, "too many new orders")
	if len(w.limiter.blocked) != 1 || w.limiter.blocked[0] != "limits/test/default/orders" {
		t.Fatalf("remembered: %v", w.limiter.blocked)
	}
	w.client = w.newClient()
	requests := w.ca.Count(testca.PathNewOrder)
	r, _ = w.request("b.example.com")
	_, err = w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.RateLimited)
	if w.ca.Count(testca.PathNewOrder) != requests {
		t.Error("newOrder was asked again before the time")
	}
}

// A05: an order that stays processing is polled to its expiry and kept.
func TestA05ProcessingForEver(t *testing.T) {
	expires := time.Now().Add(1500 * time.Millisecond).UTC().Truncate(time.Second)
	stuck := func(doc map[string]any) {
		if doc["status"] == statusProcessing || doc["status"] == statusValid {
			doc["status"], doc["expires"] = statusProcessing, expires.Format(time.RFC3339)
			delete(doc, "certificate")
		}
	}
	w := newWorld(t, testca.Options{}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		path := testca.PathOrder
		if strings.HasPrefix(r.URL.Path, testca.PathFinalize) {
			path = testca.PathFinalize
		}
		rewrite(path, stuck)(w, r, next)
	})
	r, j := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Temporary, "still processing", expires.Format(time.RFC3339))
	if j.record().OrderURL == "" || w.ca.Orders() != 1 {
		t.Errorf("%d orders, journal %+v", w.ca.Orders(), j.record())
	}
}

// A06: every failing name is listed with what the CA said, and the failure
// counts, once, against the name's limit.
func TestA06InvalidOrder(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.Name = "letsencrypt" })
	w.solver.wrong = true
	r, _ := w.request("bad.example.com", "worse.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "2 of 2 names", "bad.example.com (http-01)", "worse.example.com (http-01)", "another server")
	if !strings.Contains(err.Error(), inkan.ErrOrderDead.Error()) {
		t.Errorf("not ErrOrderDead: %v", err)
	}
	if got := w.limiter.held("/failures/"); got != 2 {
		t.Errorf("%d failures counted, want 2", got)
	}
	// The CA issued nothing, so the limits on certificates are free again.
	if w.limiter.held("/set/") != 0 || w.limiter.held("/domain/") != 0 || w.limiter.held("/orders") != 1 {
		t.Errorf("tokens: %v", w.limiter.taken)
	}
}

// A06: after as many failures as the CA allows, nothing is shown or asked.
func TestA06FailureLimit(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.Name = "letsencrypt" })
	w.solver.wrong = true
	challenges := 0
	for i := range 7 {
		r, _ := w.request("bad.example.com")
		_, err := w.client.Issue(t.Context(), r)
		if i < 5 {
			wantError(t, err, inkan.Rejected)
			challenges = w.ca.Count(testca.PathChallenge)
			continue
		}
		wantError(t, err, inkan.RateLimited, "failed validations of bad.example.com")
		if inkan.RetryAfterOf(err).IsZero() || w.ca.Count(testca.PathChallenge) != challenges {
			t.Errorf("failure %d: %v", i, err)
		}
	}
}

// A07: unknown fields and challenge types, several challenges of one type, and
// names in capitals.
func TestA07OddAnswers(t *testing.T) {
	w := newWorld(t, testca.Options{}, rewrite(testca.PathAuthz, func(doc map[string]any) {
		list, _ := doc["challenges"].([]any)
		odd := map[string]any{"type": "quantum-01", "url": 7.0, "status": "pending", "token": nil}
		delete(odd, "url")
		doc["challenges"] = append([]any{odd}, append(list, list...)...)
		doc["surprise"] = []int{1, 2, 3}
		id, _ := doc["identifier"].(map[string]any)
		id["value"] = strings.ToUpper(fmt.Sprint(id["value"]))
	}))
	w.issue("a.example.com", "b.example.com")
}

// A08: a new order that comes back ready, and one that comes back valid with
// a certificate for another key.
func TestA08NewOrderIsReady(t *testing.T) {
	w := newWorld(t, testca.Options{AuthzReuse: 100}, nil)
	w.issue("a.example.com")
	leaf := w.issue("a.example.com") // all authorizations are valid: ready at once
	if leaf == nil || len(w.ca.Certificates()) != 2 {
		t.Error("no second certificate")
	}
}

func TestA08NewOrderIsSomebodyElses(t *testing.T) {
	for name, c := range map[string]struct {
		always        bool
		crash, tokens int // before this journal write of ours; the tokens of all orders in the end
	}{
		"once": {tokens: 3}, "always": {always: true, tokens: 3},
		"crash before it is forgotten":          {crash: 4, tokens: 3},
		"crash before the second tokens":        {crash: 5, tokens: 4}, // those are lost
		"crash before the second order is ours": {crash: 6, tokens: 3},
	} {
		t.Run(name, func(t *testing.T) {
			always := c.always
			var replay atomic.Bool
			var kept atomic.Pointer[httptest.ResponseRecorder]
			var last string
			w := newWorld(t, testca.Options{AuthzReuse: 100}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.URL.Path != testca.PathNewOrder {
					if strings.HasPrefix(r.URL.Path, testca.PathOrder) { // the finished order, for the replay
						rec := httptest.NewRecorder()
						next.ServeHTTP(rec, r)
						copyHeader(w.Header(), rec.Header())
						w.WriteHeader(rec.Code)
						w.Write(rec.Body.Bytes())
						if bytes.Contains(rec.Body.Bytes(), []byte(`"certificate"`)) && kept.Load() == nil {
							kept.Store(rec)
							last = "https://" + r.Host + r.URL.Path
						}
						return
					}
					next.ServeHTTP(w, r)
					return
				}
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				if old := kept.Load(); old != nil && (always || !replay.Swap(true)) && rec.Code == 201 {
					w.Header().Set("Location", last)
					w.Header().Set("Replay-Nonce", rec.Header().Get("Replay-Nonce"))
					w.WriteHeader(201)
					w.Write(old.Body.Bytes())
					return
				}
				copyHeader(w.Header(), rec.Header())
				w.WriteHeader(rec.Code)
				w.Write(rec.Body.Bytes())
			}, func(c *Config) { c.Name = "letsencrypt" })
			w.issue("a.example.com")
			if kept.Load() == nil {
				t.Fatal("no finished order was seen")
			}
			r, j := w.request("a.example.com")
			if c.crash > 0 {
				j.crashAt(c.crash)
				if err := w.again(t.Context(), r); !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				j.stop = nil
			}
			issued, err := w.client.Issue(t.Context(), r)
			if always {
				wantError(t, err, inkan.Temporary, "another key")
			} else if err != nil {
				t.Fatal(err)
			} else {
				checkIssued(t, issued, j)
			}
			w.wantTokens(c.tokens, c.tokens, c.tokens)
			j.wantHeld(t, 3)
		})
	}
}

// H02: tokens that are no tokens end the order before anything is journalled
// or presented.
func TestH02TokenPathTricks(t *testing.T) {
	for name, token := range map[string]any{
		"path": "../../../etc/cron.d/x", "long path": "../../../../../../../../../etc/cron.d/x", "empty": "", "short": "abc",
		"shell": "aaaaaaaaaaaaaaaaaaaaaa;id", "newline": "aaaaaaaaaaaaaaaaaaaaaaaa\n", "dot": "aaaaaaaaaaaaaaaaaaaaaaaa.b",
		"padding": "aaaaaaaaaaaaaaaaaaaaaaaa==", "long": strings.Repeat("a", 257), "missing": nil,
		"unicode": "ａａａａａａａａａａａａａａａａａａａａａａａａ",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Options{}, rewrite(testca.PathAuthz, func(doc map[string]any) {
				for _, ch := range doc["challenges"].([]any) {
					ch.(map[string]any)["token"] = token
				}
			}))
			r, j := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			wantError(t, err, inkan.Bug, "token", "a.example.com")
			if w.solver.presented != 0 || len(j.record().Challenges) != 0 {
				t.Errorf("%d presented, journal %v", w.solver.presented, j.record().Challenges)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("the error is not printable: %q", err)
			}
		})
	}
}

// H04: hostile problem documents and other bodies of refusals.
func TestH04ProblemDocuments(t *testing.T) {
	for name, body := range map[string]string{
		"escapes":     `{"type":"urn:ietf:params:acme:error:malformed","detail":"\u001b[31mred\u001b]0;title\u0007\u202egnp\n"}`,
		"html":        `<script>alert(document.cookie)</script>`,
		"long":        `{"type":"` + strings.Repeat("x", 50000) + `","detail":"` + strings.Repeat("y", 500000) + `"}`,
		"nested":      strings.Repeat(`{"subproblems":[`, 10000),
		"deep":        `{"type":"a","subproblems":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
		"wrong types": `{"type":7,"detail":["a"],"status":"x","instance":{},"subproblems":"no","identifier":3}`,
		"UTF-16":      "\xff\xfe{\x00}\x00",
		"null":        `null`, "array": `[]`, "empty": ``,
		"many": `{"type":"a","subproblems":[` + strings.Repeat(`{"type":"b","detail":"c"},`, 20000) + `{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Options{}, on(testca.PathNewOrder, 1, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(403)
				w.Write([]byte(body))
			}))
			r, _ := w.request("a.example.com")
			_, err := w.client.Issue(t.Context(), r)
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			if len(text) > maxShown+200 || strings.ContainsAny(text, "\x1b\x07\n\u202e") || strings.Contains(text, "<script>") {
				t.Errorf("%d bytes: %.300q", len(text), text)
			}
		})
	}
}

// H04, J10: answers without an end are cut off by size and by time.
func TestJ10EndlessAnswers(t *testing.T) {
	endless := func(pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			chunk := bytes.Repeat([]byte("x"), 64<<10)
			if pause > 0 {
				chunk = chunk[:1]
			}
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
				http.NewResponseController(w).Flush()
				if pause > 0 {
					select {
					case <-time.After(pause):
					case <-r.Context().Done():
					}
				}
			}
		}
	}
	for _, path := range []string{testca.PathDirectory, testca.PathNewOrder, testca.PathCertificate} {
		w := newWorld(t, testca.Options{}, on(path, 1, endless(0)))
		r, _ := w.request("a.example.com")
		_, err := w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.Temporary, "larger than 1 MiB")

		w = newWorld(t, testca.Options{}, on(path, 1, endless(5*time.Millisecond)))
		w.client.bodyTime = 100 * time.Millisecond
		r, _ = w.request("a.example.com")
		_, err = w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.Temporary, "took too long")
	}
}

// J10: a gzip bomb is a large answer like any other, with any transport.
func TestJ10GzipBomb(t *testing.T) {
	w := newWorld(t, testca.Options{}, on(testca.PathDirectory, 1, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zipBomb(w, 64<<20)
	}))
	w.config.Roots, w.env.HTTP = nil, w.ca.HTTPClient()
	w.client = w.newClient()
	r, _ := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Temporary, "larger than 1 MiB")
}

// B04: a server that is not trusted gets no signed request.
func TestB04UntrustedServer(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.config.Roots = w.ca.IssuerRoots() // others than the endpoint's
	w.client = w.newClient()
	r, _ := w.request("a.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "not trusted", "directory at 127.0.0.1:")
	if len(w.ca.Requests()) != 0 {
		t.Error("it was asked all the same")
	}
}

// A21: no challenge of a configured type is offered.
func TestA21NoMatchingChallenge(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	r, _ := w.request("a.example.com", "*.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "*.example.com", "dns-01", "http-01")
	if w.solver.presented != 0 {
		t.Error("something was presented")
	}
	r, _ = w.request("a.example.com")
	r.Solvers = nil
	_, err = w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Operator, "solver web is not configured here")
}

// A19: names that the CA does not issue for, and requests with must-staple.
func TestA19Rejected(t *testing.T) {
	w := newWorld(t, testca.Options{DomainBlocklist: []string{"blocked.example.com"}}, nil)
	r, _ := w.request("blocked.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected, "rejectedIdentifier", "blocked.example.com")
}
