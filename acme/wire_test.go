package acme

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testca"
)

// A04: seconds, dates and garbage.
func TestA04ParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": time.Second, "1": time.Second, "120": 2 * time.Minute, "99999999": 24 * time.Hour, strings.Repeat("9", 60): 24 * time.Hour,
		"-5": 0, "1.5": 0, "soon": 0, "120 ": 2 * time.Minute, "0x10": 0, strings.Repeat("9", 100): 0,
		"Sun, 22 Nov 2026 12:10:00 GMT":  10 * time.Minute,
		"Sunday, 22-Nov-26 12:10:00 GMT": 10 * time.Minute, // RFC 850
		"Sun Nov 22 12:10:00 2026":       10 * time.Minute, // asctime (G05)
		"Sun, 22 Nov 2026 11:00:00 GMT":  time.Second,
		"Sun, 22 Nov 2037 11:00:00 GMT":  24 * time.Hour,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	// Our clock is an hour behind: the CA's own tells how long it means.
	h := http.Header{"Retry-After": {"Sun, 22 Nov 2026 13:10:00 GMT"}, "Date": {"Sun, 22 Nov 2026 13:00:00 GMT"}}
	if got := retryAfter(h, now); got != 10*time.Minute {
		t.Errorf("with a wrong clock: %s", got)
	}
}

func TestAlternates(t *testing.T) {
	for header, want := range map[string][]string{
		`<https://ca.example/c/1>;rel="alternate"`:                                         {"https://ca.example/c/1"},
		`<https://ca.example/dir>;rel="index", </c/2>; title="a, b;c"; rel="up Alternate"`: {"https://ca.example/c/2"},
		`<1>;rel=alternate,<2>;rel=alternate, <1>;rel=alternate`:                           {"https://ca.example/c/1", "https://ca.example/c/2"},
		`<x>;rel="alternate`:          nil,
		`<x`:                          nil,
		`nonsense`:                    nil,
		``:                            nil,
		`<a>;rel=index;rel=alternate`: nil, // the first one counts (RFC 8288 section 3.3)
		`<a>;rel="alter\nate"`:        {"https://ca.example/c/a"},
		`<http://[::1>;rel=alternate`: nil,
	} {
		if d := cmp.Diff(want, alternates(http.Header{"Link": {header}}, "https://ca.example/c/0")); d != "" {
			t.Errorf("%s: %s", header, d)
		}
	}
	many := strings.Repeat("<a", 1)
	for i := range 100 {
		many += strings.Repeat("a", i) + ">;rel=alternate, <a"
	}
	if n := len(alternates(http.Header{"Link": {many}}, "https://ca.example/")); n != maxAlternates {
		t.Errorf("%d alternates", n)
	}
}

func TestHosts(t *testing.T) {
	h, err := newHosts("https://acme-v02.api.letsencrypt.org/directory", []string{"Cdn.Example.net", "other.example.net:8443"})
	if err != nil {
		t.Fatal(err)
	}
	for url, ok := range map[string]bool{
		"https://acme-v02.api.letsencrypt.org/x":      true,
		"https://ACME-V02.api.letsencrypt.org:443/x":  true,
		"https://ari.letsencrypt.org/x":               true,
		"https://ari.letsencrypt.org:8443/x":          false,
		"https://letsencrypt.org.evil.example/x":      false,
		"https://evilletsencrypt.org/x":               false,
		"https://org/x":                               false,
		"http://acme-v02.api.letsencrypt.org/x":       false,
		"https://a@acme-v02.api.letsencrypt.org/x":    false,
		"https://acme-v02.api.letsencrypt.org/x#y":    false,
		"https://cdn.example.net/x":                   true,
		"https://other.example.net:8443/x":            true,
		"https://other.example.net/x":                 false,
		"https://127.0.0.1/x":                         false,
		"https:acme-v02.api.letsencrypt.org":          false,
		"//acme-v02.api.letsencrypt.org/x":            false,
		"":                                            false,
		"https://":                                    false,
		"https://acme-v02.api.letsencrypt.org:99999/": false,
	} {
		if err := h.check(url); (err == nil) != ok {
			t.Errorf("%s: %v, want ok %v", url, err, ok)
		}
	}
	h, err = newHosts("https://192.0.2.7:14000/dir", nil)
	if err != nil {
		t.Fatal(err)
	}
	if h.check("https://192.0.2.7:14000/x") != nil || h.check("https://192.0.2.7/x") == nil || h.check("https://192.0.2.8:14000/x") == nil {
		t.Error("addresses")
	}
	// Hosts below a public suffix are strangers to each other.
	h, err = newHosts("https://ca.github.io/dir", nil)
	if err != nil {
		t.Fatal(err)
	}
	if h.check("https://evil.github.io/x") == nil {
		t.Error("github.io is a public suffix")
	}
	if _, err := newHosts("http://ca.example/dir", nil); err == nil {
		t.Error("a directory without TLS")
	}
}

func TestPace(t *testing.T) {
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	var p pace
	var got []int64
	for range 16 {
		got = append(got, ms(p.next(0)))
	}
	want := []int64{10, 25, 60, 150, 300, 450, 675, 1012, 1518, 2278, 3417, 5125, 7688, 10000, 10000, 10000}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	p = pace{}
	got = []int64{ms(p.next(0)), ms(p.next(3 * time.Second)), ms(p.next(3 * time.Second)), ms(p.next(time.Second))}
	if d := cmp.Diff([]int64{10, 200, 3000, 1000}, got); d != "" {
		t.Errorf("with Retry-After: %s", d)
	}
	p.looks = math.MaxInt - 1
	if w := p.next(0); w != longestWait {
		t.Errorf("after ever so many looks: %s", w)
	}
}

func TestProblemText(t *testing.T) {
	p := parseProblem([]byte(`{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"no\u001b[1m","subproblems":[
		{"type":"urn:ietf:params:acme:error:caa","detail":"forbidden","identifier":{"type":"dns","value":"a.example"}},{"type":"urn:x","detail":7}, 5]}`))
	if want := `rejectedIdentifier: no\u001b[1m (a.example: caa: forbidden; urn:x)`; p.Error() != want {
		t.Errorf("%s, want %s", p.Error(), want)
	}
	for _, body := range []string{``, `{}`, `[]`, `"x"`, `{"type":7}`, `<html>`} {
		if p := parseProblem([]byte(body)); p != nil {
			t.Errorf("%s is a problem: %v", body, p)
		}
	}
}

func TestJudge(t *testing.T) {
	c := &Client{config: Config{Account: "default"}, now: time.Now, host: "ca.example"}
	for _, tt := range []struct {
		p    Problem
		kind inkan.Kind
	}{
		{Problem{Type: rateLimited, Status: 429}, inkan.RateLimited},
		{Problem{Type: rateLimited, Status: 503}, inkan.RateLimited},
		{Problem{Status: 429}, inkan.RateLimited},
		{Problem{Status: 500}, inkan.Temporary},
		{Problem{Status: 503}, inkan.Temporary},
		{Problem{Status: 403}, inkan.Temporary}, // a proxy's page
		{Problem{Status: 404}, inkan.Temporary},
		{Problem{Type: serverInternal, Status: 500}, inkan.Temporary},
		{Problem{Type: malformed, Status: 400}, inkan.Rejected},
		{Problem{Type: "urn:custom", Status: 400}, inkan.Rejected},
		{Problem{Type: badCSR, Status: 403}, inkan.Rejected},
		{Problem{Type: caaProblem, Status: 403}, inkan.Rejected},
		{Problem{Type: unauthorized, Status: 403}, inkan.Operator},
		{Problem{Type: userActionRequired, Status: 403}, inkan.Operator},
	} {
		err := c.refused("step at ca.example", &tt.p)
		if got := inkan.KindOf(err); got != tt.kind {
			t.Errorf("%s %d: %v, want %v", tt.p.Type, tt.p.Status, got, tt.kind)
		}
		if problemOf(err) != &tt.p || !strings.HasPrefix(err.Error(), "step at ca.example: ") || strings.HasSuffix(err.Error(), ".") {
			t.Errorf("error: %v", err)
		}
	}
}

// fakeNonces is a pool whose newNonce requests take a second each.
func fakeNonces(fail error) (*nonces, *int) {
	count := new(int)
	var mu sync.Mutex
	n := &nonces{now: time.Now, tasks: &tasks{stop: make(chan struct{})}}
	n.fetch = func(ctx context.Context, needed func() bool) (string, error) {
		if !needed() {
			return "", errNotNeeded
		}
		if err := sleep(ctx, time.Second); err != nil {
			return "", err
		}
		mu.Lock()
		defer mu.Unlock()
		*count++
		return "fetched", fail
	}
	return n, count
}

func TestNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, count := fakeNonces(nil)
		n.prefetch(t.Context(), 3)
		time.Sleep(2 * time.Second)
		for range 3 {
			if v, err := n.get(t.Context()); v == "" || err != nil {
				t.Fatal(v, err)
			}
		}
		if *count != 3 {
			t.Errorf("%d newNonce requests, want 3", *count)
		}
		// An answer to another request comes before the nonce that was asked for.
		got := make(chan string)
		go func() {
			v, _ := n.get(t.Context())
			got <- v
		}()
		synctest.Wait()
		n.put("brought")
		if v := <-got; v != "brought" {
			t.Errorf("got %q", v)
		}
		time.Sleep(2 * time.Second) // the late one is kept
		start := time.Now()
		if v, err := n.get(t.Context()); v != "fetched" || err != nil || time.Since(start) > 0 {
			t.Errorf("%q, %v after %s", v, err, time.Since(start))
		}
		n.put("old")
		time.Sleep(maxNonceAge + time.Second)
		if v, err := n.get(t.Context()); v != "fetched" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
		n.tasks.close()
	})
}

func TestNoncesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		n, _ := fakeNonces(broken)
		if _, err := n.get(t.Context()); !errors.Is(err, broken) {
			t.Errorf("error: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := n.get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error: %v", err)
		}
		n.tasks.close()
		if _, err := n.get(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("after close: %v", err)
		}
		if len(n.waiting) != 0 || n.fetching != 0 {
			t.Errorf("left: %d waiting, %d fetching", len(n.waiting), n.fetching)
		}
	})
}

// H04: a nonce is base64url or it is none.
func TestBadReplayNonce(t *testing.T) {
	for value, want := range map[string]string{"abc-_9": "abc-_9", "": "", "a b": "", "a\"b": "", "ä": "", strings.Repeat("a", 2000): ""} {
		r := &response{header: http.Header{"Replay-Nonce": {value}}}
		if got := r.nonce(); got != want {
			t.Errorf("%q: %q", value, got)
		}
	}
}

// G01: the CA's clock is the second opinion.
func TestG01ClockSkew(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.env.Now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	w.client = w.newClient()
	if _, ok := w.client.ClockSkew(); ok {
		t.Error("known before the first answer")
	}
	r, j := w.request("a.example.com")
	r.Request.Lifetime = 24 * time.Hour
	w.mustIssue(r, j)
	skew, ok := w.client.ClockSkew()
	if !ok || skew < 2*time.Hour-5*time.Second || skew > 2*time.Hour+5*time.Second {
		t.Errorf("skew %s", skew)
	}
	if d := time.Until(w.client.caNow()); d.Abs() > 5*time.Second {
		t.Errorf("the CA's time is off by %s", d)
	}
}

// The library leaves nothing behind when it is closed, and says so afterwards.
func TestClose(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.issue("a.example.com")
	w.client.Close()
	w.client.nonces.free = nil
	r, _ := w.request("b.example.com")
	if _, err := w.client.Issue(t.Context(), r); !errors.Is(err, errClosed) {
		t.Errorf("error: %v", err)
	}
}

// Secrets never print, whatever prints the configuration.
func TestConfigHidesSecrets(t *testing.T) {
	w := newWorld(t, testca.Options{}, nil)
	w.issue("a.example.com")
	if b, err := json.Marshal(w.accounts.rec); err == nil {
		t.Errorf("the account's record shows itself: %s", b)
	}
	info, err := w.client.ShowAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(info)
	if err != nil || strings.Contains(string(b), "PRIVATE") {
		t.Errorf("%s, %v", b, err)
	}
}
