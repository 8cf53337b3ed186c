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

// limitedWorld is Pebble with the limits of Let's Encrypt behind a fault proxy.
func limitedWorld(t *testing.T, o testca.Options) (*world, *testca.Proxy) {
	t.Helper()
	return newProxied(t, o, func(c *Config) { c.Name = "letsencrypt" })
}

// wantTokens checks how many tokens of new orders, of sets of names and of domains
// are taken.
func (w *world) wantTokens(orders, sets, domains int) {
	w.t.Helper()
	if o, s, d := w.limiter.held("/orders"), w.limiter.held("/set/"), w.limiter.held("/domain/"); o != orders || s != sets || d != domains {
		w.t.Errorf("%d tokens for orders, %d for sets, %d for domains, want %d, %d, %d", o, s, d, orders, sets, domains)
	}
}

// wantHeld checks how many tokens the journal names.
func (j *memJournal) wantHeld(t *testing.T, n int) {
	t.Helper()
	if got := j.record().Tokens; len(got) != n {
		t.Errorf("the journal names %v, want %d tokens", got, n)
	}
}

// crashAt makes the journal fail from its n-th write on.
func (j *memJournal) crashAt(n int) {
	j.updates = 0
	j.stop = func(update int) error {
		if update >= n {
			return errCrash
		}
		return nil
	}
}

// again runs the journal in another process.
func (w *world) again(ctx context.Context, r inkan.IssueRequest) error {
	w.t.Helper()
	w.client = w.newClient()
	_, err := w.client.Issue(ctx, r)
	return err
}

// V5: an order takes its tokens once, whenever the process dies. Only tokens that
// the journal does not name yet are lost.
func TestV5OncePerOrder(t *testing.T) {
	for k := 1; ; k++ {
		reached := false
		for _, written := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, durable %v", k, written), func(t *testing.T) {
				w, _ := limitedWorld(t, testca.Options{})
				r, j := w.request("a.example.com", "b.example.com")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				j.stop = func(update int) error {
					if update < k {
						return nil
					}
					reached = true
					if written && update == k {
						cancel()
						return nil
					}
					return errCrash
				}
				_, err := w.client.Issue(ctx, r)
				if reached != (err != nil) {
					t.Fatal(err)
				}
				j.stop = nil
				if reached {
					if err := w.again(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				}
				n := 1
				if k == 1 && !written {
					n = 2
				}
				w.wantTokens(n, n, n)
				j.wantHeld(t, 3)
			})
		}
		if !reached {
			if k < 5 {
				t.Fatalf("only %d journal writes", k-1)
			}
			return
		}
	}
}

// V5: an order that is asked for again, since nobody knows what became of it,
// takes nothing more. While a 429 says to wait, what it holds does not help, and
// stays.
func TestV5AgainAfterNoAnswer(t *testing.T) {
	for name, fault := range map[string]testca.Fault{
		"503": testca.Answer(503, "", ""), "500": testca.Problem(500, serverInternal, "sorry"), "lost before": testca.DropBefore(), "lost after": testca.DropAfter(),
	} {
		t.Run(name, func(t *testing.T) {
			w, p := limitedWorld(t, testca.Options{})
			r, j := w.request("a.example.com")
			rule := p.Add(testca.Rule{Path: testca.PathNewOrder, Do: fault})
			for range 2 {
				wantError(t, w.again(t.Context(), r), inkan.Temporary)
				w.wantTokens(1, 1, 1)
				j.wantHeld(t, 3)
			}
			asked := w.ca.Count(testca.PathNewOrder)
			for key := range w.limiter.taken {
				if err := w.limiter.Block(t.Context(), inkan.Bucket{Key: key}, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				wantError(t, w.again(t.Context(), r), inkan.RateLimited)
				clear(w.limiter.until)
			}
			if n := w.ca.Count(testca.PathNewOrder) - asked; n != 0 {
				t.Errorf("%d requests in spite of the CA's answer", n)
			}
			rule.Remove()
			if err := w.again(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			w.wantTokens(1, 1, 1)
			j.wantHeld(t, 3)
			if w.limiter.refunds != 0 {
				t.Errorf("%d tokens came back", w.limiter.refunds)
			}
		})
	}
}

// V5: what the CA refuses comes back, once. A crash may lose it.
func TestV5RefusedOnce(t *testing.T) {
	blocked := testca.Options{DomainBlocklist: []string{"blocked.example.com"}}
	t.Run("again and again", func(t *testing.T) {
		w, _ := limitedWorld(t, blocked)
		r, j := w.request("blocked.example.com")
		for range 3 {
			wantError(t, w.again(t.Context(), r), inkan.Rejected)
			w.wantTokens(0, 0, 0)
			j.wantHeld(t, 0)
		}
	})
	t.Run("crash before the refund", func(t *testing.T) {
		w, _ := limitedWorld(t, blocked)
		r, j := w.request("blocked.example.com")
		w.limiter.before = func(what string) error {
			if what == "refund" {
				return errCrash
			}
			return nil
		}
		wantError(t, w.again(t.Context(), r), inkan.Rejected)
		j.wantHeld(t, 0)
		w.limiter.before = nil
		for range 2 {
			wantError(t, w.again(t.Context(), r), inkan.Rejected)
			w.wantTokens(1, 1, 1)
			j.wantHeld(t, 0)
		}
	})
	t.Run("crash before the journal", func(t *testing.T) {
		w, _ := limitedWorld(t, blocked)
		r, j := w.request("blocked.example.com")
		j.crashAt(2)
		wantError(t, w.again(t.Context(), r), inkan.Rejected)
		j.stop = nil
		// The next process cannot know what became of the request.
		for range 2 {
			j.wantHeld(t, 3)
			wantError(t, w.again(t.Context(), r), inkan.Rejected)
			w.wantTokens(1, 1, 1)
		}
	})
	t.Run("after no answer", func(t *testing.T) {
		w, p := limitedWorld(t, testca.Options{})
		r, j := w.request("a.example.com")
		p.Add(testca.Rule{Path: testca.PathNewOrder, To: 1, Do: testca.DropAfter()})
		wantError(t, w.again(t.Context(), r), inkan.Temporary)
		p.Add(testca.Rule{Path: testca.PathNewOrder, Do: testca.Problem(403, rejectedIdentifier, "no")})
		wantError(t, w.again(t.Context(), r), inkan.Rejected)
		w.wantTokens(1, 1, 1) // the first request made an order
		j.wantHeld(t, 3)
	})
}

// V5, A06: of an order that fails, the tokens of certificates come back once, and
// each name that failed counts once, whenever the process dies. A crash may lose a
// token, or count failures twice that the journal did not name yet.
func TestV5DeadOnce(t *testing.T) {
	for k := 1; ; k++ {
		reached := false
		t.Run(fmt.Sprintf("write %d", k), func(t *testing.T) {
			w, _ := limitedWorld(t, testca.Options{})
			w.solver.wrong = true
			r, j := w.request("bad.example.com", "worse.example.com")
			j.crashAt(k)
			if err := w.again(t.Context(), r); err == nil {
				t.Fatal("validated")
			}
			reached = j.updates >= k
			lost, failures, named := 0, w.limiter.held("/failures/"), strings.Join(j.record().Tokens, " ")
			if named == "" {
				lost = 1
			}
			if strings.Contains(named, "/failures/") {
				failures = 0
			}
			j.stop = nil
			for range 2 {
				wantError(t, w.again(t.Context(), r), inkan.Rejected, "2 of 2 names")
				w.wantTokens(1+lost, lost, lost)
				j.wantHeld(t, 3)
				if got := w.limiter.held("/failures/"); got != 2+failures {
					t.Errorf("%d failures counted, want %d", got, 2+failures)
				}
			}
		})
		if !reached {
			if k < 6 {
				t.Fatalf("only %d journal writes", k-1)
			}
			return
		}
	}
}

// V5, A06: a name and its wildcard are one name that failed, also when it was the
// last failure that the CA allows.
func TestV5FailureCountsOnce(t *testing.T) {
	o := testOrder(t, "letsencrypt", "a.example.com", "b.example.com")
	l, j := newMemLimiter(), &memJournal{}
	o.r.Limiter, o.r.Journal = l, j
	last := o.failureBucket(o.ids[1])
	l.taken[last.Key] = last.Capacity
	for range 2 {
		o.countFailures(t.Context(), []inkan.Identifier{o.ids[0], o.ids[1], o.ids[0]})
		if l.taken[o.failureBucket(o.ids[0]).Key] != 1 || l.taken[last.Key] != last.Capacity {
			t.Errorf("counted: %v", l.taken)
		}
		if len(l.blocked) != 1 || l.blocked[0] != last.Key || j.updates != 1 {
			t.Errorf("blocked: %v; %d journal writes", l.blocked, j.updates)
		}
		j.wantHeld(t, 2)
	}
}
