package solve_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/internal/testdns"
	"github.com/inkan-acme/inkan/plugtest/solvetest"
	"github.com/inkan-acme/inkan/solve"
)

// clerk is a person who does as told, but only when asked the n-th time.
type clerk struct {
	after int
	sure  bool
	place func(solve.Proof)
	gone  func(solve.Proof)

	mu    sync.Mutex
	asked []error
}

func (p *clerk) Place(_ context.Context, proofs []solve.Proof, wrong error) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked = append(p.asked, wrong); len(p.asked) >= p.after {
		for _, proof := range proofs {
			p.place(proof)
		}
	}
	return p.sure, nil
}

func (p *clerk) Remove(_ context.Context, proofs []solve.Proof) {
	for _, proof := range proofs {
		p.gone(proof)
	}
}

// asked is a Manual whose Present asks the person at once, so that the suite
// can see what was placed.
type asked struct{ *solve.Manual }

func (a asked) Present(ctx context.Context, cs []inkan.Challenge) ([]inkan.Undo, error) {
	if _, err := a.Manual.Present(ctx, cs); err != nil {
		return nil, err
	}
	return nil, a.Wait(ctx, cs)
}

// website serves what a person puts there, by host and path.
type website struct {
	mu    sync.Mutex
	files map[string]string
	addr  string
}

func newWebsite(t *testing.T) *website {
	w := &website{files: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		w.mu.Lock()
		content, ok := w.files["http://"+q.Host+q.URL.Path]
		w.mu.Unlock()
		switch {
		case !ok:
			http.NotFound(rw, q)
		case strings.HasPrefix(content, "http://"):
			http.Redirect(rw, q, content, http.StatusFound)
		default:
			rw.Write([]byte(content + "\n"))
		}
	}))
	t.Cleanup(server.Close)
	w.addr = server.Listener.Addr().String()
	return w
}

func (w *website) put(url, content string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[url] = content
}

func (w *website) remove(url string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.files, url)
}

func (w *website) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", w.addr)
}

func TestF46ManualHTTP(t *testing.T) {
	sites := map[inkan.Solver]*website{}
	h := harness
	h.InMemory = true
	h.Place = func(t *testing.T) func() inkan.Solver {
		site := newWebsite(t)
		return func() inkan.Solver {
			person := &clerk{place: func(p solve.Proof) { site.put(p.Where, p.Value) }, gone: func(p solve.Proof) { site.remove(p.Where) }}
			s := asked{&solve.Manual{Type: inkan.HTTP01, Person: person, Dial: site.dial}}
			sites[s] = site
			return s
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		for _, content := range fetch(t, sites[s].addr, c.Identifier.Value, c.Token) {
			return []string{strings.TrimSpace(content)}
		}
		return nil
	}
	solvetest.Run(t, h)
}

// TestH08ManualTellsWhatItSees: the CA is not asked before the proof is there.
func TestH08ManualTellsWhatItSees(t *testing.T) {
	c := harness.Challenge("www.example.com", 1)
	url := "http://www.example.com" + wellKnown + c.Token
	site := newWebsite(t)
	for _, test := range []struct{ before, want string }{
		{"", url + " answers 404 Not Found"},
		{"secret of another host", url + " answers with another content of 23 bytes or more"},
		{strings.Repeat("x", 10000), "another content of 1024 bytes"},
		{url, "more than 10 redirects"},
		{"http://other.example.com/x", url + ", redirected to http://other.example.com/x, answers 404"},
	} {
		if test.before != "" {
			site.put(url, test.before)
		}
		person := &clerk{after: 2, place: func(p solve.Proof) { site.put(p.Where, p.Value) }, gone: func(p solve.Proof) { site.remove(p.Where) }}
		m := &solve.Manual{Type: inkan.HTTP01, Person: person, Dial: site.dial}
		cs := []inkan.Challenge{c}
		if _, err := m.Present(t.Context(), cs); err != nil {
			t.Fatal(err)
		}
		if err := m.Wait(t.Context(), cs); err != nil {
			t.Fatal(err)
		}
		if len(person.asked) != 2 || person.asked[0] != nil || !strings.Contains(person.asked[1].Error(), test.want) || strings.Contains(person.asked[1].Error(), "secret") {
			t.Errorf("%.20q: the person was told %v, want %q", test.before, person.asked, test.want)
		}
		cleanUp(t, m, c)
		cleanUp(t, m, c)
	}
	sure := &clerk{after: 9, sure: true, gone: func(solve.Proof) {}}
	if err := (&solve.Manual{Type: inkan.HTTP01, Person: sure, Dial: site.dial}).Wait(t.Context(), []inkan.Challenge{c}); err != nil || len(sure.asked) != 1 {
		t.Errorf("a person who is sure: %v, asked %d times", err, len(sure.asked))
	}
}

// TestF46ManualDNS: the record is looked for at the authoritative servers, where
// a CNAME record leads.
func TestF46ManualDNS(t *testing.T) {
	zones := testdns.NewMemory(t, testdns.Zone{Name: "example.com.", Records: []string{"_acme-challenge.away CNAME away.example.net."}}, testdns.Zone{Name: "example.net."})
	servers := []string{testdns.Fake(t, "127.0.0.1:0", zones.Authority())}
	away := func(p solve.Proof) (zone, name, value string) {
		if p.Where == "_acme-challenge.away.example.com." {
			return "example.net.", "away.example.net.", p.Value
		}
		return "example.com.", p.Where, p.Value
	}
	person := &clerk{place: func(p solve.Proof) { zones.Add(away(p)) }, gone: func(p solve.Proof) { zones.Remove(away(p)) }}
	m := &solve.Manual{
		Type:      inkan.DNS01,
		Person:    person,
		Resolvers: []string{testdns.Fake(t, "127.0.0.1:0", zones.Resolver)},
		Servers:   map[string][]string{"example.com.": servers, "example.net.": servers},
	}
	var cs []inkan.Challenge
	for n, name := range []string{"example.com", "example.com", "away.example.com"} {
		c := harness.Challenge(name, n)
		c.Type = inkan.DNS01
		cs = append(cs, c)
	}
	if err := m.Wait(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
	if len(person.asked) != 1 {
		t.Errorf("the person was told %v", person.asked)
	}
	cleanUp(t, m, cs...)
	if left := append(zones.TXT("_acme-challenge.example.com."), zones.TXT("away.example.net.")...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	// What is not there, or cannot be looked up, is told.
	ctx, cancel := context.WithCancel(t.Context())
	person.asked, person.after = nil, 1
	person.place = func(solve.Proof) {
		if zones.Fail("_acme-challenge.example.com.", dns.RcodeServerFailure); len(person.asked) == 2 {
			cancel()
		}
	}
	if err := m.Wait(ctx, cs[:1]); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v", err)
	}
	if len(person.asked) != 2 || person.asked[1] == nil || !strings.Contains(person.asked[1].Error(), "SERVFAIL") {
		t.Errorf("the person was told %v", person.asked)
	}
}

func TestManualWithoutAPerson(t *testing.T) {
	m := &solve.Manual{Type: inkan.HTTP01}
	c := harness.Challenge("example.com", 1)
	_, err := m.Present(t.Context(), []inkan.Challenge{c})
	if hint := strings.Join(inkan.HintsOf(err), ""); inkan.KindOf(err) != inkan.Operator || !strings.Contains(hint, "--webroot") {
		t.Errorf("%v, hint %q", err, hint)
	}
	cleanUp(t, m, c)
	for _, bad := range hostile() {
		if _, err := m.Present(t.Context(), []inkan.Challenge{bad}); inkan.KindOf(err) != inkan.Bug {
			t.Errorf("%.40q: %v", bad.Token, err)
		}
	}
}
