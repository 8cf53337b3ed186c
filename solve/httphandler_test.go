package solve_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inkan-acme/inkan"
	"github.com/inkan-acme/inkan/plug"
	"github.com/inkan-acme/inkan/plugtest/solvetest"
	"github.com/inkan-acme/inkan/solve"
	"github.com/inkan-acme/inkan/store"
)

// TestF38HandlerAnyNode: one process presents into a shared store, another one
// answers from it.
func TestF38HandlerAnyNode(t *testing.T) {
	shared := map[inkan.Solver]inkan.Store{}
	h := harness
	h.Place = func(t *testing.T) func() inkan.Solver {
		s := store.Mem()
		return func() inkan.Solver {
			solver := overStore(t, s)
			shared[solver] = s
			return solver
		}
	}
	h.Visible = func(t *testing.T, s inkan.Solver, c inkan.Challenge) []string {
		node := &solve.Handler{Store: shared[s]} // one that was not asked before
		if status, body := get(node, "GET", wellKnown+c.Token); status == 200 {
			return []string{body}
		}
		return nil
	}
	solvetest.Run(t, h)
}

func get(h http.Handler, method, path string) (status int, body string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, "http://www.example.com"+path, nil))
	return w.Code, w.Body.String()
}

// counted is a store that counts how often it is read, and may fail.
type counted struct {
	inkan.Store
	reads atomic.Int32
	fail  atomic.Bool
	gate  chan struct{} // not nil: a reading waits for it
}

func (c *counted) Get(ctx context.Context, key string) ([]byte, inkan.Rev, error) {
	c.reads.Add(1)
	if c.gate != nil {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
	if c.fail.Load() {
		return nil, "", fs.ErrPermission
	}
	return c.Store.Get(ctx, key)
}

func TestHandlerReadsTheStoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counted{Store: store.Mem(), gate: make(chan struct{})}
		h := &solve.Handler{Store: s}
		c := harness.Challenge("www.example.com", 1)
		if _, err := s.Store.Put(t.Context(), wellKnown[1:]+c.Token, []byte(c.KeyAuthorization), ""); err != nil {
			t.Fatal(err)
		}
		wantReads := func(n int32) {
			t.Helper()
			if got := s.reads.Load(); got != n {
				t.Errorf("the store was read %d times, want %d", got, n)
			}
		}
		var wg sync.WaitGroup
		for range 20 { // a CA asks from several places at once
			wg.Go(func() {
				if status, body := get(h, "GET", wellKnown+c.Token); status != 200 || body != c.KeyAuthorization {
					t.Errorf("GET = %d %q", status, body)
				}
			})
		}
		synctest.Wait()
		close(s.gate)
		wg.Wait()
		wantReads(1)
		time.Sleep(29 * time.Second)
		get(h, "GET", wellKnown+c.Token)
		wantReads(1)
		time.Sleep(2 * time.Second)
		get(h, "GET", wellKnown+c.Token)
		wantReads(2)

		// What is not there is asked for again after a second.
		other := harness.Challenge("www.example.com", 2)
		for range 3 {
			get(h, "GET", wellKnown+other.Token)
		}
		wantReads(3)
		if _, err := s.Store.Put(t.Context(), wellKnown[1:]+other.Token, []byte(other.KeyAuthorization), ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		if status, _ := get(h, "GET", wellKnown+other.Token); status != 200 {
			t.Errorf("a second after it was put, the answer is %d", status)
		}
		wantReads(4)

		// An error is not remembered.
		s.fail.Store(true)
		third := harness.Challenge("www.example.com", 3)
		if status, body := get(h, "GET", wellKnown+third.Token); status != 503 || strings.Contains(body, "permission") {
			t.Errorf("a store that fails: %d %q", status, body)
		}
		s.fail.Store(false)
		if status, _ := get(h, "GET", wellKnown+third.Token); status != 404 {
			t.Errorf("afterwards: %d", status)
		}
		// What holds no key authorization is not shown.
		fourth := harness.Challenge("www.example.com", 4)
		if _, err := s.Store.Put(t.Context(), wellKnown[1:]+fourth.Token, []byte("<script>"), ""); err != nil {
			t.Fatal(err)
		}
		if status, body := get(h, "GET", wellKnown+fourth.Token); status != 503 || strings.Contains(body, "script") {
			t.Errorf("nonsense in the store: %d %q", status, body)
		}
	})
}

// TestJ03HandlerFlood: who asks for many made-up tokens makes neither the
// memory nor the readings of the store grow without bound.
func TestJ03HandlerFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &counted{Store: store.Mem(), gate: make(chan struct{})}
		h := &solve.Handler{Store: s}
		var wg sync.WaitGroup
		var refused atomic.Int32
		for n := range 1000 {
			wg.Go(func() {
				if status, _ := get(h, "GET", wellKnown+fmt.Sprintf("%030d", n)); status == 503 {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if s.reads.Load() != 64 || refused.Load() != 1000-64 {
			t.Errorf("%d readings at once, %d refused", s.reads.Load(), refused.Load())
		}
		close(s.gate)
		wg.Wait()
		c := harness.Challenge("www.example.com", 1)
		if status, _ := get(h, "GET", wellKnown+c.Token); status != 404 {
			t.Errorf("afterwards: %d", status)
		}
		// More tokens than it remembers, within one instant: the CA's is answered.
		for n := range 10_000 {
			if status, _ := get(h, "GET", wellKnown+fmt.Sprintf("%030d", 1_000_000+n)); status != 404 {
				t.Fatalf("made-up token %d: %d", n, status)
			}
		}
		proof := harness.Challenge("www.example.com", 2)
		if _, err := s.Put(t.Context(), strings.TrimPrefix(wellKnown, "/")+proof.Token, []byte(proof.KeyAuthorization), ""); err != nil {
			t.Fatal(err)
		}
		if status, body := get(h, "GET", wellKnown+proof.Token); status != 200 || body != proof.KeyAuthorization {
			t.Errorf("the CA's token among made-up ones: %d %q", status, body)
		}
	})
}

func TestH03HandlerOnlyTokens(t *testing.T) {
	s := &counted{Store: store.Mem()}
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "next") })
	token := harness.Challenge("www.example.com", 1).Token
	for _, h := range []http.Handler{
		&solve.Handler{Store: s, Next: next},
		&solve.Stateless{Thumbprint: strings.Repeat("t", 43), Next: next},
	} {
		for _, r := range []struct{ method, path, want string }{
			{"GET", "/", "next"},
			{"GET", "/.well-known/other", "next"},
			{"GET", wellKnown, "not found\n"},
			{"GET", wellKnown + "short", "not found\n"},
			{"GET", wellKnown + "..%2f..%2f..%2fetc%2fpasswd%2faaaa", "not found\n"},
			{"GET", wellKnown + "../../../../../etc/passwd/aaaaaaa", "not found\n"},
			{"GET", wellKnown + strings.Repeat("a", 256), "not found\n"},
			{"GET", wellKnown + token + "?x", "not found\n"},
			{"POST", wellKnown + token, "not found\n"},
			{"GET", wellKnown + token + "%0d%0ax:y", "not found\n"},
		} {
			if status, body := get(h, r.method, r.path); body != r.want || (status == 200) != (r.want == "next") {
				t.Errorf("%T: %s %.80s = %d %q, want %q", h, r.method, r.path, status, body, r.want)
			}
		}
	}
	if n := s.reads.Load(); n != 0 {
		t.Errorf("the store was read %d times", n)
	}
	for _, h := range []http.Handler{&solve.Handler{Store: s}, &solve.Stateless{Thumbprint: "t"}, &solve.Stateless{Next: next}} {
		if status, _ := get(h, "GET", wellKnown); status != 404 {
			t.Errorf("%T: %d", h, status)
		}
	}
}

// TestW12Stateless: the handler answers what a CA wants to see, and the solver
// leaves it to it.
func TestW12Stateless(t *testing.T) {
	c := harness.Challenge("www.example.com", 1)
	_, thumbprint, _ := strings.Cut(c.KeyAuthorization, ".")
	for _, h := range []*solve.Stateless{{Thumbprint: thumbprint}, {Thumbprint: thumbprint, Path: "/acme/"}} {
		path := wellKnown
		if h.Path != "" {
			path = h.Path
		}
		if status, body := get(h, "GET", path+c.Token); status != 200 || body != c.KeyAuthorization {
			t.Errorf("GET = %d %q, want %q", status, body, c.KeyAuthorization)
		}
	}
	for _, cfg := range []solve.StatelessConfig{{}, {Thumbprint: thumbprint}} {
		s, err := solve.StatelessSolver(plug.Env{}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		undo, err := s.Present(t.Context(), []inkan.Challenge{c})
		if undo != nil || err != nil {
			t.Errorf("Present = %v, %v", undo, err)
		}
		if err := s.CleanUp(t.Context(), []inkan.Challenge{c}); err != nil {
			t.Error(err)
		}
		other := c
		other.KeyAuthorization = c.Token + "." + strings.Repeat("x", 43)
		if _, err := s.Present(t.Context(), []inkan.Challenge{other}); (inkan.KindOf(err) == inkan.Operator) != (cfg.Thumbprint != "") {
			t.Errorf("another account: %v", err)
		}
		for _, bad := range hostile() {
			if _, err := s.Present(t.Context(), []inkan.Challenge{bad}); err == nil {
				t.Errorf("accepted %.40q", bad.Token)
			}
		}
	}
	if _, err := solve.StatelessSolver(plug.Env{}, solve.StatelessConfig{Thumbprint: "x;y"}); inkan.KindOf(err) != inkan.Operator {
		t.Errorf("a bad thumbprint: %v", err)
	}
}

// TestF37BehindALoadBalancer: the prefix kept or stripped, the host kept or
// changed.
func TestF37BehindALoadBalancer(t *testing.T) {
	for _, test := range []struct {
		path    string
		anyHost bool
		host    string
		want    bool
	}{
		{"", false, "www.example.com", true},
		{"", false, "10.0.0.5:8080", false},
		{"", true, "10.0.0.5:8080", true},
		{"/", true, "backend", true},
		{"/acme/", false, "www.example.com", true},
	} {
		r := &solve.Responder{Path: test.path, AnyHost: test.anyHost}
		c := harness.Challenge("www.example.com", 1)
		present(t, r, c)
		path := test.path
		if path == "" {
			path = wellKnown
		}
		q := httptest.NewRequest("GET", path+c.Token, nil)
		q.Host = test.host
		w := httptest.NewRecorder()
		r.ServeHTTP(w, q)
		if got := w.Body.String() == c.KeyAuthorization; got != test.want {
			t.Errorf("%+v: %d %q", test, w.Code, w.Body)
		}
		cleanUp(t, r, c)
		if r.Seen(c) != nil {
			t.Errorf("%+v: after the clean-up it still stands", test)
		}
	}
	for _, path := range []string{"x", "/x", "x/", "/a b/", "/?/", "//"} {
		if _, err := solve.Standalone(plug.Env{}, solve.StandaloneConfig{Path: path}); inkan.KindOf(err) != inkan.Operator {
			t.Errorf("the path %q: %v", path, err)
		}
	}
}
