package acme

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
	"github.com/inkan-acme/inkan/plug"
)

func testOrder(t *testing.T, ca string, names ...string) *order {
	t.Helper()
	ids, err := inkan.ParseIdentifiers(names)
	if err != nil {
		t.Fatal(err)
	}
	known, _ := KnownCA(ca)
	known.Name = ca
	c := &Client{ca: known, name: ca, config: Config{Account: "ops"}}
	return &order{c: c, ids: ids, rec: inkan.OrderRecord{Attempt: "a1", KeyType: inkan.ECDSAP256}}
}

func TestOrderBuckets(t *testing.T) {
	o := testOrder(t, "letsencrypt", "b.example.co.uk", "*.a.example.co.uk", "example.com", "192.0.2.1", "2001:db8::1", "2001:db8::2")
	want := []string{
		"new orders of account ops at letsencrypt",
		"certificates for 192.0.2.1 at letsencrypt",
		"certificates for 2001:db8::/64 at letsencrypt",
		"certificates for example.co.uk at letsencrypt",
		"certificates for example.com at letsencrypt",
		"certificates for exactly these names at letsencrypt",
	}
	var got []string
	for _, b := range o.orderBuckets(false) {
		got = append(got, b.What)
		if err := inkan.CheckKey(b.Key); err != nil || b.Capacity == 0 || b.Refill == 0 {
			t.Errorf("%+v: %v", b, err)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if b := o.orderBuckets(true); len(b) != 0 {
		t.Errorf("with ARI: %v", b)
	}
	unknown := testOrder(t, "other", "a.example.com").orderBuckets(true)
	if len(unknown) != 1 || unknown[0].Capacity != 0 || unknown[0].Key != "limits/other/ops/orders" {
		t.Errorf("unknown CA: %v", unknown)
	}
	a, b := testOrder(t, "letsencrypt", "a.example.com", "b.example.com"), testOrder(t, "letsencrypt", "b.example.com", "a.example.com")
	if a.setBucket() != b.setBucket() {
		t.Error("the order of the names matters")
	}
}

// A 429 about one name must not stop everything else of the account.
func TestA04WhichLimit(t *testing.T) {
	o := testOrder(t, "letsencrypt", "www.example.com", "www.example.org")
	for detail, want := range map[string][]string{
		"too many new orders (300) from this account in the last 3h0m0s, retry after 2026-11-22":          {"new orders of account ops at letsencrypt"},
		`too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s`: {"certificates for exactly these names at letsencrypt"},
		`too many certificates (50) already issued for "example.org" in the last 168h0m0s`:                {"certificates for example.org at letsencrypt"},
		`too many failed authorizations (5) for "www.example.com" in the last 1h0m0s`:                     {"failed validations of www.example.com at letsencrypt"},
		"Service busy; retry later.": {"new orders of account ops at letsencrypt"},
	} {
		var got []string
		for _, b := range o.limited(&Problem{Type: rateLimited, Detail: detail}) {
			got = append(got, b.What)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", detail, d)
		}
	}
}

// A refusal is proof that nothing was used, and a second order after a crash
// takes nothing more.
func TestTokensAreReturned(t *testing.T) {
	w := newWorld(t, testca.Options{DomainBlocklist: []string{"blocked.example.com"}}, nil, func(c *Config) { c.Name = "letsencrypt" })
	r, _ := w.request("blocked.example.com")
	_, err := w.client.Issue(t.Context(), r)
	wantError(t, err, inkan.Rejected)
	for _, part := range []string{"/orders", "/domain/", "/set/"} {
		if n := w.limiter.held(part); n != 0 {
			t.Errorf("%d tokens of %s are held", n, part)
		}
	}
	r, j := w.request("a.example.com")
	j.stop = func(update int) error { // the order was made, its URL was not journalled
		if update > 1 {
			return errCrash
		}
		return nil
	}
	if _, err := w.client.Issue(t.Context(), r); err == nil {
		t.Fatal("no crash")
	}
	j.stop = nil
	w.mustIssue(r, j)
	if n := w.limiter.held("/orders"); n != 1 {
		t.Errorf("%d tokens for one attempt", n)
	}
}

// No token, no request.
func TestUsedUpLimit(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.Name = "letsencrypt" })
	for i := range 6 {
		r, j := w.request("a.example.com")
		if i < 5 {
			w.mustIssue(r, j)
			continue
		}
		_, err := w.client.Issue(t.Context(), r)
		wantError(t, err, inkan.RateLimited, "exactly these names")
	}
	if n := w.ca.Orders(); n != 5 {
		t.Errorf("%d orders", n)
	}
}

func TestThrottleStaysBelow(t *testing.T) {
	ca, ok := KnownCA("letsencrypt")
	if !ok {
		t.Fatal("letsencrypt is not built in")
	}
	throttle := NewThrottle(ca.Limits)
	for ep, r := range map[endpoint]Rate{epNewNonce: ca.Limits.NewNonce, epNewOrder: ca.Limits.NewOrder, epOther: ca.Limits.Other, epRevoke: ca.Limits.Revoke,
		epDirectory: ca.Limits.Directory, epNewAccount: ca.Limits.NewAccount, epRenewalInfo: ca.Limits.RenewalInfo} {
		l := throttle.limits[ep]
		if l == nil || l.rate >= r.PerSecond || l.burst >= float64(r.Burst) || l.burst < 1 {
			t.Errorf("endpoint %d: %+v for %v", ep, l, r)
		}
	}
	if len(NewThrottle(Limits{}).limits) != 0 {
		t.Error("a limit that nobody published")
	}
}

// Q6: whatever the network does with what is under way, the CA's bucket never
// overflows: requests that arrive at once after a stall, or each at another
// time between sending and answer.
func TestQ06StallsDoNotBunch(t *testing.T) {
	for name, arrive := range map[string]func(sent time.Time, i int) (arrives, answered time.Duration){
		"in time": func(time.Time, int) (time.Duration, time.Duration) {
			return 25 * time.Millisecond, 50 * time.Millisecond
		},
		"stall": func(sent time.Time, _ int) (time.Duration, time.Duration) {
			d := 2*time.Second - time.Duration(sent.UnixNano())%(2*time.Second)
			return d, d + 1
		},
		"scattered": func(_ time.Time, i int) (time.Duration, time.Duration) {
			d := time.Duration(i*i%700) * time.Millisecond
			return d, 701 * time.Millisecond
		},
		"late news": func(time.Time, int) (time.Duration, time.Duration) { return time.Millisecond, time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(19, 9)
				var mu sync.Mutex
				level, at, over := 10.0, time.Now(), 0
				var all sync.WaitGroup
				start := time.Now()
				for i := range 300 {
					spend, err := b.take(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					arrives, answered := arrive(time.Now(), i)
					all.Go(func() {
						time.Sleep(arrives)
						mu.Lock()
						level, at = min(10, level+time.Since(at).Seconds()*20), time.Now()
						if level--; level < -1e-6 {
							over++
						}
						mu.Unlock()
						time.Sleep(answered - arrives)
						spend(true)
					})
				}
				all.Wait()
				if over != 0 {
					t.Errorf("%d of 300 requests over the limit", over)
				}
				if took := time.Since(start); name == "in time" && took > 17*time.Second {
					t.Errorf("300 requests at 19 a second took %s", took)
				}
			})
		})
	}
}

func TestThrottleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(1, 1)
		spend, err := b.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error)
		for range 2 { // one waits for the token, one for its turn
			go func() {
				_, err := b.take(ctx)
				errs <- err
			}()
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error: %v", err)
			}
		}
		spend(true)
		start := time.Now()
		if _, err := b.take(t.Context()); err != nil || time.Since(start) < 990*time.Millisecond || time.Since(start) > 1010*time.Millisecond {
			t.Errorf("the next token came after %s, %v", time.Since(start), err)
		}
	})
}

// The judge is the record of the CA: fifty names never exceed new-nonce's 20 a
// second and burst of 10.
func TestThrottleNonces(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil, func(c *Config) { c.Name = "letsencrypt" })
	var names []string
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		names = append(names, string(c)+".example.com", string(c)+".example.org")
	}
	w.issue(names...)
	tokens, last := 10.0, time.Time{}
	for _, r := range w.ca.Requests() {
		if r.Path != testca.PathNewNonce {
			continue
		}
		if !last.IsZero() {
			tokens = min(10, tokens+r.Time.Sub(last).Seconds()*20)
		}
		last = r.Time
		if tokens--; tokens < -1 {
			t.Fatal("new-nonce was asked too often")
		}
	}
}

func TestKnownCAs(t *testing.T) {
	for _, ca := range KnownCAs() {
		if err := inkan.CheckName(ca.Name); err != nil {
			t.Error(err)
		}
		if _, err := parseHTTPS(ca.Directory); err != nil || ca.Source == "" || ca.Title == "" {
			t.Errorf("%+v: %v", ca, err)
		}
		if CAName(ca.Directory) != ca.Name {
			t.Errorf("name of %s is %s", ca.Directory, CAName(ca.Directory))
		}
	}
	for name, config := range map[string]Config{
		"letsencrypt": {Directory: "https://acme-v02.api.letsencrypt.org/directory"},
		"prod":        {Name: "prod", Directory: "https://acme-v02.api.letsencrypt.org/directory"},
	} {
		c, err := New(plug.Env{}, config, &memAccounts{})
		if err != nil || c.CA().Name != name || c.CA().Limits.Orders.Capacity != 300 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	_, err := New(plug.Env{}, Config{Name: "nobody"}, &memAccounts{})
	wantError(t, err, inkan.Operator, "no directory URL", "letsencrypt-staging")
	name := CAName("https://ca.example/directory")
	if err := inkan.CheckName(name); err != nil || name == CAName("https://ca.example/other") {
		t.Errorf("%s: %v", name, err)
	}
	if _, ok := KnownCA("nobody"); ok {
		t.Error("nobody is known")
	}
	if NewTransport(nil, http.ProxyFromEnvironment).Proxy == nil {
		t.Error("the proxy is lost")
	}
}
